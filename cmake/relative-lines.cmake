# cmake -DPTX=file -DROOT=folder -P relative-lines.cmake: of the line information of PTX leaves the lines, in files named
# from ROOT, not from this machine's; which functions they were inlined into is a third of the file, and nothing reads it.
# Comments, indentation and blanks behind commas go as well, a fifth of what is left.
file(READ ${PTX} TEXT)
string(REPLACE "\"${ROOT}/" "\"" TEXT "${TEXT}")
string(REGEX REPLACE ", function_name [^\n]*" "" TEXT "${TEXT}")
string(REGEX REPLACE "\n\t\\.section\t\\.debug_str\n\t{[^}]*}" "" TEXT "${TEXT}")
string(REGEX REPLACE "[ \t]*//[^\n]*" "" TEXT "${TEXT}")
string(REGEX REPLACE "\n[ \t\n]+" "\n" TEXT "${TEXT}")
string(REGEX REPLACE "[ \t]+" " " TEXT "${TEXT}")
string(REPLACE ", " "," TEXT "${TEXT}")
file(WRITE ${PTX} "${TEXT}")
