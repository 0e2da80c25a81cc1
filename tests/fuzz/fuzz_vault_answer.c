/* What Vault, or whoever answers in its place, says: the first byte chooses which answer the rest
 * is. What is taken must keep its bounds, and be harmless in a header or a log line. */
#include "base/json_in.h"
#include "base/str.h"
#include "net/cert.h"
#include "secret/vault_answer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

static void login(struct slice text)
{
    struct buf token = BUF_INIT(VAULT_TOKEN_MAX);
    struct err e = {0};
    if (vault_read_login(text, &token, &e) == 0)
        for (size_t i = 0; i < token.len; i++)
            MUST(token.data[i] > ' ' && token.data[i] < 0x7f);
    else
        MUST(e.code != 0);
    buf_done(&token);
}

static void issue(struct slice text)
{
    struct vault_set set;
    struct cert_list l = {0};
    struct err e = {0};
    vault_set_init(&set);
    if (vault_read_issue(text, &set, &e) == 0) {
        MUST(set.cert.len > 0 && set.key.len > 0 && set.authority.len > 0);
        (void)cert_check_set(
            (struct slice){set.cert.data, set.cert.len}, (struct slice){set.key.data, set.key.len},
            (struct slice){set.authority.data, set.authority.len}, 1800000000, &l, &e);
    }
    cert_list_done(&l);
    vault_set_done(&set);
}

static void certs(struct slice text)
{
    struct cert_list l;
    struct err e = {0};
    if (cert_read(&l, text, &e) == 0) {
        MUST(l.count > 0 && l.count <= CERT_MAX_IN_FILE);
        for (size_t i = 0; i < l.count; i++)
            MUST(l.items[i].subject != NULL && l.items[i].n_names <= CERT_MAX_NAMES);
    }
    cert_list_done(&l);
}

static void refusal(int status, struct slice text)
{
    struct err e = {0};
    (void)vault_read_refusal(status, text, &e);
    MUST(utf8_valid(e.msg, strlen(e.msg)));
    for (const char *p = e.msg; *p != '\0'; p++)
        MUST((unsigned char)*p >= ' ');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vault_token t;
    struct err e = {0};
    if (size < 1)
        return 0;
    struct slice text = {(const char *)data + 1, size - 1};
    switch (data[0] % 5) {
    case 0:
        login(text);
        break;
    case 1:
        issue(text);
        break;
    case 2:
        refusal(100 + data[0] * 2, text);
        break;
    case 3:
        if (vault_read_lookup(text, &t, &e) == 0)
            MUST(t.ttl_s >= 0);
        break;
    default:
        certs(text);
    }
    return 0;
}
