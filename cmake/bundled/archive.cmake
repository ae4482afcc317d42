# For scripts/bundled: prints the path of NAME's archive on standard output.
cmake_minimum_required(VERSION 3.25)
include(${CMAKE_CURRENT_LIST_DIR}/source.cmake)
presignd_bundled_archive(${NAME} archive)
execute_process(COMMAND ${CMAKE_COMMAND} -E echo ${archive})
