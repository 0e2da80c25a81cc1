#!/bin/sh
# Writes the bytes of a file as a C array. usage: proto/embed.sh FILE NAME
set -eu
echo "/* generated */"
echo "#include <stddef.h>"
echo "extern const unsigned char $2[];"
echo "extern const size_t $2_len;"
echo "const unsigned char $2[] = {"
od -An -v -tx1 "$1" | sed 's/ \(..\)/0x\1,/g'
echo "};"
echo "const size_t $2_len = sizeof($2);"
