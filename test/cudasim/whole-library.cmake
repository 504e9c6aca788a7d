# Shared libraries of the folder that includes this are linked under another name and renamed: one under its own name is
# whole, also while it is linked anew and where that is ended. Processes without the build's lock look for it there
# (lib/native/cudasim.ts).
string(REPLACE "-o <TARGET>" "-o <TARGET>.new" CMAKE_CXX_CREATE_SHARED_LIBRARY "${CMAKE_CXX_CREATE_SHARED_LIBRARY}")
list(APPEND CMAKE_CXX_CREATE_SHARED_LIBRARY "<CMAKE_COMMAND> -E rename <TARGET>.new <TARGET>")
