# Kernels of native/cuda/kernels, embedded in the library. nvcc makes PTX of each .cu once, with source lines named from
# the root of the sources; machine code comes from that PTX.
#   TINYLORA_CUDA                AUTO: where nvcc is found; ON: fail without it; OFF: never
#   TINYLORA_CUDA_MACHINE_CODE   sm_*: architectures to embed machine code of; PTX, which any later device can run, is always there
# PTX is for compute_80. A kernel file *_sm90.cu is for compute_90a and sm_90a alone. One that includes early_start.cuh is
# there for compute_90 as well, and sm_90a and sm_100 are made from that. The PTX is also what the stand-in for the driver
# runs. Without kernels the backend is built all the same and says so when it is asked for.
set(TINYLORA_CUDA AUTO CACHE STRING "Build the CUDA kernels: AUTO, ON or OFF")
set(TINYLORA_CUDA_MACHINE_CODE sm_80 sm_90a sm_100 CACHE STRING "What the CUDA kernels are compiled for")

set(NVCC NVCC-NOTFOUND)
if(TINYLORA_CUDA)
  find_program(TINYLORA_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATH_SUFFIXES bin)
  set(NVCC ${TINYLORA_NVCC})
  if(NOT NVCC AND NOT TINYLORA_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "TINYLORA_CUDA is ON, and nvcc is neither on PATH nor under CUDA_HOME")
  endif()
endif()

# A driver takes machine code that any nvcc of its own major version makes, and nothing of a later one; PTX it takes of
# its own minor version at most.
set(OLDEST_DRIVER 0)
if(NVCC)
  execute_process(COMMAND ${NVCC} --version OUTPUT_VARIABLE NVCC_VERSION COMMAND_ERROR_IS_FATAL ANY)
  if(NOT NVCC_VERSION MATCHES "release ([0-9]+)")
    message(FATAL_ERROR "${NVCC} --version: expected its release, found ${NVCC_VERSION}")
  endif()
  set(OLDEST_DRIVER ${CMAKE_MATCH_1}000)
  if(CMAKE_MATCH_1 LESS 12)
    message(FATAL_ERROR "${NVCC} is of CUDA ${CMAKE_MATCH_1}: expected 12 or newer; without kernels, TINYLORA_CUDA=OFF")
  endif()
  # What this nvcc does not know yet, as sm_100 before 12.8, has the PTX.
  execute_process(COMMAND ${NVCC} --list-gpu-code OUTPUT_VARIABLE NVCC_KNOWS COMMAND_ERROR_IS_FATAL ANY)
  foreach(ARCHITECTURE ${TINYLORA_CUDA_MACHINE_CODE})
    string(REGEX REPLACE "a$" "" PLAIN ${ARCHITECTURE})
    if(NOT NVCC_KNOWS MATCHES "${PLAIN}[^0-9]")
      list(REMOVE_ITEM TINYLORA_CUDA_MACHINE_CODE ${ARCHITECTURE})
    endif()
  endforeach()
endif()

# Nothing is contracted behind our back (--fmad=false), as in the C++ code: a fused multiply-add is written as fmaf.
set(NVCC_FLAGS -std=c++17 -O3 --fmad=false ${NVCC_WERROR})
set(IMAGE_FILES)
set(IMAGE_GLOBALS)
set(IMAGE_ASSEMBLY)
set(IMAGE_DECLARATIONS)
set(IMAGE_TABLE)

# Embeds the file of an image that is built: the machine code, or the PTX, of one kernel file. EARLY: whether its kernels
# may begin before the launch before them is done.
macro(embed NAME ARCHITECTURE EARLY IMAGE)
  set(SYMBOL tinylora_image_${NAME}_${ARCHITECTURE})
  list(APPEND IMAGE_FILES ${IMAGE})
  string(APPEND IMAGE_GLOBALS "    \".global ${SYMBOL}\\n.global ${SYMBOL}_end\\n\"\n")
  string(APPEND IMAGE_ASSEMBLY
    "    \".balign 64\\n${SYMBOL}:\\n.incbin \\\"${IMAGE}\\\"\\n${SYMBOL}_end:\\n.byte 0\\n\"\n")
  string(APPEND IMAGE_DECLARATIONS
    "extern const char ${SYMBOL}[] __attribute__((visibility(\"hidden\")));\n"
    "extern const char ${SYMBOL}_end[] __attribute__((visibility(\"hidden\")));\n")
  string(APPEND IMAGE_TABLE
    "      {\"${NAME}\", \"${ARCHITECTURE}\", ${EARLY}, ${SYMBOL}, static_cast<std::size_t>(${SYMBOL}_end - ${SYMBOL})},\n")
endmacro()

# The PTX of a kernel file for one virtual architecture, and the machine code that is made from it.
macro(compile_kernel NAME VIRTUAL EARLY ARCHITECTURES)
  set(PTX ${IMAGE_FOLDER}/${NAME}.${VIRTUAL}.ptx)
  add_custom_command(OUTPUT ${PTX}
    COMMAND ${NVCC} ${NVCC_FLAGS} -I${CMAKE_CURRENT_SOURCE_DIR}/native -ptx -lineinfo -arch=${VIRTUAL} ${KERNEL} -o ${PTX}
    COMMAND ${CMAKE_COMMAND} -DPTX=${PTX} -DROOT=${CMAKE_CURRENT_SOURCE_DIR} -P ${CMAKE_CURRENT_LIST_DIR}/relative-lines.cmake
    DEPENDS ${KERNEL} ${KERNEL_HEADERS} COMMENT "nvcc ${NAME}.cu for ${VIRTUAL}" VERBATIM)
  embed(${NAME} ${VIRTUAL} ${EARLY} ${PTX})
  foreach(ARCHITECTURE ${ARCHITECTURES})
    # A fat binary of this machine code alone, for its compression: a seventh of the bytes, which the driver unpacks.
    set(FATBIN ${IMAGE_FOLDER}/${NAME}.${ARCHITECTURE}.fatbin)
    add_custom_command(OUTPUT ${FATBIN}
      COMMAND ${NVCC} -fatbin -gencode arch=${VIRTUAL},code=${ARCHITECTURE} -Xfatbin=-compress-all
        -Xptxas --suppress-debug-info ${PTX} -o ${FATBIN}
      DEPENDS ${PTX} COMMENT "ptxas ${NAME} for ${ARCHITECTURE}" VERBATIM)
    embed(${NAME} ${ARCHITECTURE} ${EARLY} ${FATBIN})
  endforeach()
endmacro()

if(NVCC)
  file(GLOB KERNELS CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/native/cuda/kernels/*.cu)
  # Kernels take arguments of ops as they are: a struct that has changed must not meet a kernel of before.
  file(GLOB KERNEL_HEADERS CONFIGURE_DEPENDS
    ${CMAKE_CURRENT_SOURCE_DIR}/native/cuda/kernels/*.cuh ${CMAKE_CURRENT_SOURCE_DIR}/native/cuda/kernels/*.h
    ${CMAKE_CURRENT_SOURCE_DIR}/native/ops/*.h)
  set(IMAGE_FOLDER ${CMAKE_CURRENT_BINARY_DIR}/cuda)
  file(MAKE_DIRECTORY ${IMAGE_FOLDER})
  foreach(KERNEL ${KERNELS})
    get_filename_component(NAME ${KERNEL} NAME_WE)
    file(STRINGS ${KERNEL} EARLY REGEX "^#include \"early_start.cuh\"$")
    set(AMPERE ${TINYLORA_CUDA_MACHINE_CODE})
    list(FILTER AMPERE INCLUDE REGEX "^sm_8")
    set(LATER ${TINYLORA_CUDA_MACHINE_CODE})
    list(FILTER LATER EXCLUDE REGEX "^sm_8")
    if(NAME MATCHES "_sm90$")
      list(FILTER LATER INCLUDE REGEX "_90a$")
      compile_kernel(${NAME} compute_90a true "${LATER}")
      continue()
    endif()
    if(NAME STREQUAL "product_half")  # on sm_90a product_sm90.cu multiplies
      list(FILTER LATER EXCLUDE REGEX "_90a$")
    endif()
    if(EARLY)
      compile_kernel(${NAME} compute_80 false "${AMPERE}")
      compile_kernel(${NAME} compute_90 true "${LATER}")
    else()
      compile_kernel(${NAME} compute_80 false "${AMPERE};${LATER}")
    endif()
  endforeach()
endif()

set(IMAGES_SOURCE ${CMAKE_CURRENT_BINARY_DIR}/cuda_images.cpp)
if(IMAGE_FILES)
  file(CONFIGURE OUTPUT ${IMAGES_SOURCE} @ONLY CONTENT [[// Written by cmake/cuda.cmake.
#include <vector>

#include "cuda/images.h"

__asm__(
    ".pushsection .rodata\n"
@IMAGE_GLOBALS@@IMAGE_ASSEMBLY@    ".popsection\n");

extern "C" {
@IMAGE_DECLARATIONS@}

namespace tinylora::cuda {

std::span<const Image> images() {
  static const std::vector<Image> table = {
@IMAGE_TABLE@  };
  return table;
}

int oldest_driver() { return @OLDEST_DRIVER@; }

}  // namespace tinylora::cuda
]])
  set_source_files_properties(${IMAGES_SOURCE} PROPERTIES OBJECT_DEPENDS "${IMAGE_FILES}")
else()
  file(CONFIGURE OUTPUT ${IMAGES_SOURCE} @ONLY CONTENT [[// Written by cmake/cuda.cmake: no nvcc, no kernels.
#include "cuda/images.h"

namespace tinylora::cuda {

std::span<const Image> images() { return {}; }

int oldest_driver() { return @OLDEST_DRIVER@; }

}  // namespace tinylora::cuda
]])
endif()
