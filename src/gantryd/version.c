#include "gantryd/version.h"

#include "base/build.h"

#include <jansson.h>
#include <llhttp.h>
#include <nghttp2/nghttp2.h>
#include <uv.h>
#include <wslay/wslay.h>
#include <yaml.h>

/* OpenSSL names a type ERR_STATE; ours is a value of enum err_code. */
#define ERR_STATE openssl_err_state
#include <openssl/crypto.h>
#undef ERR_STATE

void version_print(FILE *out)
{
    fprintf(out,
            "gantryd " GANTRY_VERSION "\n"
            "commit %s\n"
            "compiler %s, %s\n"
            "libuv %s\n"
            "%s\n"
            "nghttp2 %s\n"
            "llhttp %d.%d.%d\n"
            "jansson %s\n"
            "libyaml %s\n"
            "wslay %s\n",
            build_commit, build_compiler, build_type, uv_version_string(),
            OpenSSL_version(OPENSSL_VERSION), nghttp2_version(0)->version_str, LLHTTP_VERSION_MAJOR,
            LLHTTP_VERSION_MINOR, LLHTTP_VERSION_PATCH, jansson_version_str(),
            yaml_get_version_string(), WSLAY_VERSION);
}
