/* Profiles: what comes from volumes and from people. The first byte says what the rest is: a state
 * file, a name, a configuration file, or a line of the boot log. */
#include "base/str.h"
#include "s6/boot_log.h"
#include "s6/profile_env.h"
#include "s6/profile_state.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void state_file(struct slice text)
{
    struct profile_layout l;
    struct profile_state s;
    if (profile_layout_init(&l, "hermes", NULL) != 0)
        abort();
    int rc = profile_state_parse(text, &s);
    struct slice prior = profile_state_prior(&l, &s);
    bool starts = profile_state_starts(&l, &s);
    if ((rc != 0) != (s.note != PROFILE_STATE_FINE) || (rc != 0 && (prior.p != NULL || starts)))
        abort();
    if (prior.len > PROFILE_STATE_TEXT || (starts && !slice_eqs(prior, "running")))
        abort();
    char shown[1024];
    struct buf b = BUF_FIXED(shown);
    boot_log_value(&b, prior, 64);
    if (b.err != 0 || strpbrk(shown, " \n=") != NULL)
        abort(); /* it could forge a field */
}

static void name(struct slice text)
{
    char out[PROFILE_NAME_MAX + 1];
    struct err e = {0};
    bool fine = profile_name_check(text) == PROFILE_NAME_FINE;
    if (fine != (profile_name_require(text, &e) == 0))
        abort();
    if (profile_name_new(text, out, &e) == 0 &&
        profile_name_check(slice_of(out)) != PROFILE_NAME_FINE)
        abort();
    if (fine && (profile_port(text) < 9200 || profile_port(text) >= 9800))
        abort();
    if (!utf8_valid(e.msg, strlen(e.msg)))
        abort();
}

static void variables(struct slice text)
{
    struct profile_layout l;
    struct profile_env env = {.text = BUF_INIT(PROFILE_ENV_FILE_MAX)};
    struct slot_text script;
    struct err e = {0};
    if (profile_layout_init(&l, NULL, NULL) != 0)
        abort();
    if (text.len > 0 && buf_add(&env.text, text.p, text.len) == 0 &&
        profile_env_parse(&env, &l, &e) == 0) {
        if (slot_render(&script, &l, SLICE_LIT("a"), false, env.item, env.n, &e) != 0)
            abort();
        slot_text_done(&script);
    } else if (env.n != 0 || !utf8_valid(e.msg, strlen(e.msg))) {
        abort();
    }
    profile_env_done(&env);
}

static void config(struct slice text)
{
    struct profile_layout l;
    struct err e = {0};
    struct buf faults = BUF_INIT(1 << 20);
    if (profile_layout_init(&l, NULL, NULL) != 0)
        abort();
    int rc = profile_layout_read(&l, "x", text, &faults, &e);
    if (faults.err == 0 && rc == ERR_INVALID && faults.len == 0)
        abort();
    if (memchr(l.home, '\0', sizeof(l.home)) == NULL || l.home[0] != '/' ||
        l.autostart.n > PROFILE_WORDS_MAX)
        abort();
    buf_done(&faults);
}

static void log_line(struct slice text)
{
    struct boot_log_fields f;
    if (boot_log_parse(text, &f) && (f.stamp.len == 0 || f.profile.len == 0 || f.action.len == 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const kinds[])(struct slice text) = {state_file, name, config, log_line,
                                                       variables};
    if (size < 1)
        return 0;
    kinds[data[0] % ARRAY_LEN(kinds)]((struct slice){(const char *)data + 1, size - 1});
    return 0;
}
