/* What Compose and we say to each other, on bytes from outside: a Compose file as a payload and as
 * an import, the .env file that we write and read back, hashes, versions, failures, records. */
#include "base/mem.h"
#include "base/str.h"
#include "core/compose_import.h"
#include "core/compose_text.h"
#include "driver/compose/compose_words.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void note(void *ctx, bool fault, size_t line, const char *text)
{
    (void)ctx;
    (void)fault;
    INVARIANT(line > 0 && text != NULL);
}

/* A value that was written is read back as it was: by our own reader, which knows neither "${:-$}"
 * nor "\\$", so values with a dollar and those that end in a backslash are left to the real tool.
 */
static void check_env(struct slice value)
{
    struct buf out = BUF_INIT(SIZE_MAX / 4);
    char *copy = mem_strndup(value.p, value.len);
    INVARIANT(copy != NULL);
    struct doc_pair pair = {(char *)(uintptr_t) "NAME", copy};
    struct doc_compose c = {.env = {&pair, 1}};
    struct slice all = slice_of(copy);
    for (int f = COMPOSE_1; f <= COMPOSE_PLUGIN; f++) {
        struct schema_list back = {0};
        struct err e = {0};
        buf_clear(&out);
        INVARIANT(compose_env_write(&out, (enum compose_flavour)f, &c, &e) == 0);
        /* One line, whatever the value: it cannot become another variable. */
        INVARIANT(memchr(out.data, '\n', out.len) == out.data + out.len - 1);
        if (memchr(copy, '$', all.len) != NULL || (all.len > 0 && copy[all.len - 1] == '\\'))
            continue;
        INVARIANT(compose_import_env((struct slice){out.data, out.len}, &back, &e) == 0);
        const struct schema_pair *p = back.items;
        INVARIANT(back.count == 1 && strcmp(p->key, "NAME") == 0 && strcmp(p->value, copy) == 0);
        mem_free(p->key);
        mem_free(p->value);
        mem_free(back.items);
    }
    (void)compose_env_plain(value, &c);
    mem_free(copy);
    buf_done(&out);
}

static void check_texts(struct slice in)
{
    struct buf why = BUF_INIT(1024);
    struct fault f;
    struct compose_hash h;
    struct slice rest = in;
    compose_why(&why, in, 400);
    INVARIANT(why.len <= 400 && utf8_valid(why.data != NULL ? why.data : "", why.len));
    INVARIANT(compose_fault(&f, "up", in) != 0 && f.reason != FAULT_NONE);
    (void)compose_version_read(in);
    while (compose_hash_next(&rest, &h))
        INVARIANT(h.service.len > 0 && h.hash.len >= 32);
    char name[COMPOSE_NAME_SIZE];
    compose_project_name(in, name);
    for (const char *at = name; *at != '\0'; at++)
        INVARIANT(strchr("abcdefghijklmnopqrstuvwxyz0123456789-_", *at) != NULL);
    buf_done(&why);
}

static void check_record(struct slice in)
{
    struct compose_record r = {0}, again = {0};
    struct buf out = BUF_INIT(SIZE_MAX / 4);
    if (compose_record_read(&r, in) == 0) {
        INVARIANT(compose_record_write(&r, &out) == 0);
        INVARIANT(compose_record_read(&again, (struct slice){out.data, out.len}) == 0);
        INVARIANT(strcmp(r.id, again.id) == 0 && r.n_parts == again.n_parts);
        compose_record_done(&again);
        compose_record_done(&r);
    }
    buf_done(&out);
}

static void check_import(struct slice in)
{
    struct buf out = BUF_INIT(SIZE_MAX / 4);
    struct schema_list pairs = {0};
    struct err e = {0};
    if (compose_import(in, "/srv/app", &out, note, NULL, &e) == 0)
        INVARIANT(compose_text_check((struct slice){out.data, out.len}, &e) == 0);
    (void)compose_import_env(in, &pairs, &e);
    struct schema_pair *p = pairs.items;
    for (size_t i = 0; i < pairs.count; i++) {
        mem_free(p[i].key);
        mem_free(p[i].value);
    }
    mem_free(pairs.items);
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = {(const char *)data, size};
    json_in_init();
    check_texts(in);
    check_record(in);
    check_import(in);
    if (utf8_valid(in.p, in.len) && memchr(in.p, '\0', in.len) == NULL)
        check_env(in);
    return 0;
}
