/* ws_key.c: the proof that a server has read a WebSocket handshake. */
#include "net/ws_key.h"

#include <string.h>

/* OpenSSL names a type ERR_STATE; ours is a value of enum err_code. */
#define ERR_STATE openssl_err_state
#include <openssl/evp.h>
#include <openssl/sha.h>
#undef ERR_STATE

/* OpenSSL's plain SHA-1: EVP would fetch a provider at its first use, and when memory runs out in
 * the middle of that, OpenSSL 3.0 keeps locks that it could not make and ends the process later. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
static bool sha1(const void *p, size_t n, unsigned char out[SHA_DIGEST_LENGTH])
{
    SHA_CTX c;
    return SHA1_Init(&c) == 1 && SHA1_Update(&c, p, n) == 1 && SHA1_Final(out, &c) == 1;
}
#pragma GCC diagnostic pop

bool ws_accept_key(struct slice key, char out[WS_ACCEPT_SIZE])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[24 + sizeof(guid)];
    unsigned char digest[SHA_DIGEST_LENGTH];
    memcpy(text, key.p, 24);
    memcpy(text + 24, guid, sizeof(guid));
    if (!sha1(text, sizeof(text) - 1, digest))
        return false;
    EVP_EncodeBlock((unsigned char *)out, digest, sizeof(digest));
    return true;
}

void ws_make_key(const uint8_t random[WS_KEY_BYTES], char out[WS_KEY_SIZE])
{
    EVP_EncodeBlock((unsigned char *)out, random, WS_KEY_BYTES);
}
