/* gantry-agent reconcile, and port. */
#include "s6/reconcile.h"
#include "base/clock.h"
#include "base/json_out.h"
#include "gantry-agent/commands_priv.h"
#include "s6/boot_log.h"
#include "s6/boot_rules.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct telling {
    bool json;
    struct buf out;
};

static void tell_json(struct telling *t, const struct reconcile_record *r)
{
    struct buf line = BUF_INIT(65536);
    struct json_out j;
    json_begin(&j, &line);
    json_obj(&j);
    json_kslice(&j, "profile", r->profile);
    if (r->prior.p == NULL)
        json_knull(&j, "prior_state");
    else
        json_kslice(&j, "prior_state", r->prior);
    json_kstr(&j, "action", reconcile_action_name(r->action));
    if (r->reason != RECONCILE_NO_REASON)
        json_kstr(&j, "reason", reconcile_reason_name(r->reason));
    json_key(&j, "notes");
    json_arr(&j);
    for (unsigned bit = 1; reconcile_note_name(bit) != NULL; bit <<= 1) {
        if ((r->notes & bit) != 0)
            json_cstr(&j, reconcile_note_name(bit));
    }
    json_end_arr(&j);
    json_end_obj(&j);
    buf_addc(&line, '\n');
    if (line.err == 0)
        buf_add(&t->out, line.data, line.len);
    buf_done(&line);
}

/* The line of the contract, 6.3, which has no stamp and no more than three fields. */
static void tell_text(struct telling *t, const struct reconcile_record *r)
{
    buf_addlit(&t->out, "reconcile: profile=");
    boot_log_value(&t->out, r->profile, 0);
    buf_addlit(&t->out, " prior_state=");
    boot_log_value(&t->out, r->prior, RECONCILE_PRIOR_MAX);
    buf_addf(&t->out, " action=%s", reconcile_action_name(r->action));
    if (r->reason != RECONCILE_NO_REASON)
        buf_addf(&t->out, " reason=%s", reconcile_reason_name(r->reason));
    const char *sep = " note=";
    for (unsigned bit = 1; reconcile_note_name(bit) != NULL; bit <<= 1) {
        if ((r->notes & bit) == 0)
            continue;
        buf_addf(&t->out, "%s%s", sep, reconcile_note_name(bit));
        sep = ",";
    }
    buf_addc(&t->out, '\n');
}

static void tell(void *ctx, const struct reconcile_record *r, const char *warning)
{
    struct telling *t = ctx;
    if (warning != NULL)
        (void)command_say(0, "warning: %s", warning);
    else if (t->json)
        tell_json(t, r);
    else
        tell_text(t, r);
    if (t->out.len > 65536) {
        command_print(STDOUT_FILENO, (struct slice){t->out.data, t->out.len});
        buf_clear(&t->out);
    }
}

/* The variables that switch a pass off or change it (contract 12.7, 15.9). */
static bool env_says(const char *name, const char *const *words, size_t n)
{
    const char *v = getenv(name);
    for (size_t i = 0; v != NULL && i < n; i++) {
        if (strcmp(v, words[i]) == 0)
            return true;
    }
    return false;
}

/* True if the container's command is no business of gateways. Else *state is what the home's own
 * gateway counts as if it has no state file, which is written first (contract 12.4, 12.6). */
static bool other_role(const struct profile_layout *l, bool dry_run, const char **state)
{
    struct err e = {0};
    _cleanup_(buf_done) struct buf command = BUF_INIT(BOOT_COMMAND_MAX);
    struct slice words = {NULL, 0};
    if (strcmp(l->name, "hermes") != 0)
        return false;
    if (boot_command_read("/proc", &command))
        words = boot_command_words((struct slice){command.data, command.len});
    if (boot_command_is_dashboard(words))
        return true;
    enum boot_seed seed = boot_seed_find(words, getenv("HERMES_GATEWAY_BOOTSTRAP_STATE"),
                                         getenv("HERMES_GATEWAY_NO_SUPERVISE"));
    if (seed == BOOT_SEED_NONE)
        return false;
    *state = "running";
    int rc = dry_run ? 0 : boot_seed_write(l, seed, clock_real_ns(&clock_system) / 1000000000, &e);
    if (rc != 0 && rc != ERR_EXISTS)
        (void)command_say(0, "warning: %s", e.msg);
    return false;
}

int command_reconcile(const struct command_options *o)
{
    static const char *const no[] = {"0", "false", "no"}, *const yes[] = {"1", "true", "yes"};
    struct telling t = {.json = o->json, .out = BUF_INIT(COMMAND_OUT_MAX)};
    struct profile_layout l;
    struct reconcile_result result;
    struct err e = {0};
    if (o->n_words > 0)
        return command_say(COMMAND_USAGE, "reconcile takes no name, got \"%.100s\"", o->words[0]);
    int status = command_layout(&l, o);
    if (status != COMMAND_DONE)
        return status;
    if (env_says("GANTRY_PROFILE_RECONCILE", no, ARRAY_LEN(no)) ||
        env_says("PG_RECONCILE", no, ARRAY_LEN(no))) {
        command_print(STDOUT_FILENO,
                      SLICE_LIT("reconcile: skipping (switched off by the environment)\n"));
        return COMMAND_DONE;
    }
    const char *root_state = NULL;
    if (other_role(&l, o->dry_run, &root_state)) {
        command_print(
            STDOUT_FILENO,
            SLICE_LIT("reconcile: skipping (dashboard container — does not need per-profile "
                      "gateways)\n"));
        return COMMAND_DONE;
    }
    struct reconcile_options ro = {
        .dry_run = o->dry_run,
        .force = o->force,
        .all_down = env_says("GATEWAY_MULTIPLEX_PROFILES", yes, ARRAY_LEN(yes)),
        .root_state = root_state,
        .tell = tell,
        .ctx = &t,
        .clock = &clock_system,
    };
    int rc = profiles_reconcile(&l, &ro, &result, &e);
    if (t.out.len > 0)
        command_print(STDOUT_FILENO, (struct slice){t.out.data, t.out.len});
    buf_done(&t.out);
    if (rc != 0)
        return command_say(COMMAND_SYSTEM, "%s", e.msg);
    return result.failed > 0 ? COMMAND_FAILED : COMMAND_DONE;
}

int command_port(const struct command_options *o)
{
    char text[16];
    struct buf b = BUF_FIXED(text);
    struct err e = {0};
    if (o->n_words != 1)
        return command_say(COMMAND_USAGE, "port takes one name");
    if (profile_name_require(slice_of(o->words[0]), &e) != 0)
        return command_say(COMMAND_FAILED, "%s", e.msg);
    buf_addf(&b, "%u\n", profile_port(slice_of(o->words[0])));
    command_print(STDOUT_FILENO, (struct slice){b.data, b.len});
    return COMMAND_DONE;
}
