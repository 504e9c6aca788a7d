# Takes the lock of a file, says so, and holds it until standard input ends: cmake -DLOCK=<file> -P hold-lock.cmake
file(LOCK ${LOCK} GUARD PROCESS)
execute_process(COMMAND ${CMAKE_COMMAND} -E echo locked)
execute_process(COMMAND cat)
