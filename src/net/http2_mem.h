/* http2_mem.h: nghttp2's allocations through mem.h, for servers and clients. */
#ifndef GANTRY_HTTP2_MEM_H
#define GANTRY_HTTP2_MEM_H

#include <nghttp2/nghttp2.h>

extern const nghttp2_mem http2_mem;

#endif
