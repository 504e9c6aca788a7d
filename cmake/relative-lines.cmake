# cmake -DPTX=file -DROOT=folder -P relative-lines.cmake: names source files of PTX from ROOT, not from this machine's.
file(READ ${PTX} TEXT)
string(REPLACE "\"${ROOT}/" "\"" TEXT "${TEXT}")
file(WRITE ${PTX} "${TEXT}")
