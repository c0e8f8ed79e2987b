# Writes the files of assets/ into C arrays, plain and compressed, with types and ETags.
# usage: cmake -DOUT=assets.c -DFOLDER=assets "-DNAMES=a.html;b.css" -P embed.cmake
set(types html "text/html" css "text/css" js "text/javascript" svg "image/svg+xml")
set(arrays "")
set(rows "")

function(array_of path variable out)
  file(READ ${path} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE "(....................................................................................................)" "\\1\n" bytes "${bytes}")
  set(${out} "static const uint8_t ${variable}[] = {\n${bytes}};\n" PARENT_SCOPE)
endfunction()

foreach(name IN LISTS NAMES)
  string(MAKE_C_IDENTIFIER ${name} identifier)
  get_filename_component(suffix ${name} LAST_EXT)
  string(SUBSTRING ${suffix} 1 -1 suffix)
  list(FIND types ${suffix} at)
  math(EXPR at "${at} + 1")
  list(GET types ${at} type)
  execute_process(COMMAND gzip -9 -n -c ${FOLDER}/${name} OUTPUT_FILE ${OUT}.gz COMMAND_ERROR_IS_FATAL ANY)
  array_of(${FOLDER}/${name} ${identifier} plain)
  array_of(${OUT}.gz ${identifier}_gzip compressed)
  file(SHA256 ${FOLDER}/${name} digest)
  string(SUBSTRING ${digest} 0 20 digest)
  string(APPEND arrays "${plain}${compressed}")
  string(APPEND rows "    {\"${name}\", \"${type}; charset=utf-8\", \"W/\\\"${digest}\\\"\", {${identifier}, sizeof ${identifier}}, "
    "{${identifier}_gzip, sizeof ${identifier}_gzip}},\n")
endforeach()
file(REMOVE ${OUT}.gz)
file(WRITE ${OUT} "// Written by embed.cmake.\n#include \"net/web/assets.h\"\n\n${arrays}\nconst struct asset assets[] = {\n${rows}};\n"
  "const size_t asset_count = sizeof assets / sizeof *assets;\n")
