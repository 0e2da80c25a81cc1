/* gantry-agent profile, and gateway. Texts for people as in the contract profile-gateways, 8 and 9.
 */
#include "base/json_out.h"
#include "gantry-agent/commands_priv.h"
#include "s6/boot_log.h"
#include "s6/gateway.h"

#include <string.h>
#include <unistd.h>

struct run {
    const struct command_options *o;
    struct profile_layout l;
    struct gateways g;
    struct buf out;
    size_t done, failed;
    enum gateway_action action;
};

static void flush(struct run *r)
{
    if (r->out.len > 0)
        command_print(STDOUT_FILENO, (struct slice){r->out.data, r->out.len});
    buf_clear(&r->out);
}

/* Layout and folders; COMMAND_DONE, or said why not. */
static int begin(struct run *r, const struct command_options *o)
{
    struct err e = {0};
    *r = (struct run){.o = o, .out = BUF_INIT(COMMAND_OUT_MAX)};
    int status = command_layout(&r->l, o);
    if (status != COMMAND_DONE)
        return status;
    return gateways_open(&r->g, &r->l, &clock_system, &e) == 0
               ? COMMAND_DONE
               : command_say(COMMAND_SYSTEM, "%s", e.msg);
}

static int end(struct run *r, int status)
{
    flush(r);
    gateways_close(&r->g);
    buf_done(&r->out);
    return status;
}

static int failed(struct run *r, const struct err *e)
{
    buf_addf(&r->out, "✗ %s\n", e->msg);
    return COMMAND_FAILED;
}

/* ---- telling
 * ------------------------------------------------------------------------------------------ */

static void add_word(struct json_out *j, const char *key, const struct profile_word *w)
{
    if (w->set)
        json_kslice(j, key, (struct slice){w->text, w->len});
    else
        json_knull(j, key);
}

/* Names only: values may be secrets. */
static void add_env(struct run *r, struct json_out *j, struct slice name)
{
    struct profile_env env;
    json_key(j, "env_names");
    if (gateway_env(&r->g, name, &env, NULL) == 0) {
        json_arr(j);
        for (size_t i = 0; i < env.n; i++)
            json_str(j, env.item[i].name);
        json_end_arr(j);
    } else {
        json_nil(j);
    }
    profile_env_done(&env);
}

static int tell_json(struct run *r, struct slice name, const struct gateway_status *s)
{
    struct buf line = BUF_INIT(65536);
    struct json_out j;
    json_begin(&j, &line);
    json_obj(&j);
    json_kslice(&j, "profile", name);
    json_kbool(&j, "present", s->present);
    json_kbool(&j, "registered", s->registered);
    json_kstr(&j, "state", gateway_phase_name(s->phase));
    if (s->why != GATEWAY_WHY_NOTHING)
        json_kstr(&j, "reason", gateway_why_name(s->why));
    else
        json_knull(&j, "reason");
    if (s->supervised && s->s6.pid > 0)
        json_kint(&j, "pid", s->s6.pid);
    else
        json_knull(&j, "pid");
    add_word(&j, "desired_state", &s->state.desired);
    add_word(&j, "gateway_state", &s->state.state);
    json_kint(&j, "port", profile_port(name));
    add_env(r, &j, name);
    json_end_obj(&j);
    buf_addc(&line, '\n');
    if (line.err == 0)
        buf_add(&r->out, line.data, line.len);
    int rc = line.err;
    buf_done(&line);
    return rc;
}

static int tell_text(struct run *r, struct slice name, const struct gateway_status *s)
{
    buf_addf(&r->out, "%-24.*s %s", (int)name.len, name.p, gateway_phase_name(s->phase));
    if (s->supervised && s->s6.pid > 0)
        buf_addf(&r->out, " (pid %lld)", (long long)s->s6.pid);
    if (s->why != GATEWAY_WHY_NOTHING)
        buf_addf(&r->out, ", %s", gateway_why_name(s->why));
    if (s->state.desired.set) {
        buf_addlit(&r->out, ", wanted ");
        boot_log_value(&r->out, (struct slice){s->state.desired.text, s->state.desired.len}, 64);
    }
    if (!s->present)
        buf_addlit(&r->out, ", no profile folder");
    return buf_addc(&r->out, '\n');
}

static int tell(void *ctx, struct slice name)
{
    struct run *r = ctx;
    struct gateway_status s;
    int rc = gateway_status(&r->g, name, &s, NULL);
    if (rc == 0)
        rc = r->o->json ? tell_json(r, name, &s) : tell_text(r, name, &s);
    if (r->out.len > 65536)
        flush(r);
    return rc;
}

static int tell_all(struct run *r)
{
    struct err e = {0};
    int rc = profiles_each(&r->g, tell, r, &e);
    return rc == 0 ? COMMAND_DONE : command_say(COMMAND_SYSTEM, "%s", e.msg);
}

/* The second line of `profile show`. */
static void show_env(struct run *r, struct slice name)
{
    struct profile_env env;
    struct err e = {0};
    int rc = gateway_env(&r->g, name, &env, &e);
    if (rc != 0)
        buf_addf(&r->out, "  variables: cannot be used: %s\n", e.msg);
    for (size_t i = 0; i < env.n; i++)
        buf_addf(&r->out, "%s%.*s%s", i == 0 ? "  variables: " : " ", (int)env.item[i].name.len,
                 env.item[i].name.p, i + 1 == env.n ? "\n" : "");
    profile_env_done(&env);
}

/* One that neither has a folder nor a slot is told as missing. show: more than its state. */
static int tell_one(struct run *r, const char *name, bool show)
{
    struct gateway_status s;
    struct err e = {0};
    if (gateway_status(&r->g, slice_of(name), &s, &e) != 0)
        return failed(r, &e);
    if (!s.present && !s.registered) {
        buf_addf(&r->out, "✗ there is no profile '%s'\n", name);
        return COMMAND_FAILED;
    }
    if (tell(r, slice_of(name)) != 0)
        return COMMAND_FAILED;
    if (show && !r->o->json)
        show_env(r, slice_of(name));
    return COMMAND_DONE;
}

/* ---- profile
 * ------------------------------------------------------------------------------------------- */

static int create(struct run *r, const char *name)
{
    struct slot_env env[COMMAND_MAX_ENV];
    struct err warning = {0}, e = {0};
    for (size_t i = 0; i < r->o->n_env; i++)
        env[i] = (struct slot_env){r->o->env[i].key, slice_of(r->o->env[i].value)};
    if (profile_create(&r->g, slice_of(name), env, r->o->n_env, &warning, &e) != 0)
        return failed(r, &e);
    if (warning.code == ERR_UNSUPPORTED || (warning.code == ERR_EXISTS && r->o->n_env > 0))
        buf_addf(&r->out, "⚠ %s\n", warning.msg); /* about the variables: there is a slot */
    else if (warning.code != 0)
        buf_addf(&r->out, "⚠ Could not register s6 gateway service: %s\n", warning.msg);
    return COMMAND_DONE;
}

static int delete (struct run *r, const char *name)
{
    struct err warning = {0}, e = {0};
    int rc = profile_delete(&r->g, slice_of(name), &warning, &e);
    if (warning.code != 0)
        buf_addf(&r->out, "⚠ Could not unregister s6 gateway service: %s\n", warning.msg);
    return rc == 0 ? COMMAND_DONE : failed(r, &e);
}

int command_profile(const struct command_options *o)
{
    const char *verb = o->n_words > 0 ? o->words[0] : "";
    bool list = strcmp(verb, "list") == 0;
    struct run r;
    if (!list && strcmp(verb, "create") != 0 && strcmp(verb, "delete") != 0 &&
        strcmp(verb, "show") != 0)
        return command_say(COMMAND_USAGE,
                           "profile: which of create, delete, list, show? got \"%.100s\"", verb);
    if (o->n_words != (list ? 1 : 2))
        return command_say(COMMAND_USAGE, "profile %s takes %s", verb,
                           list ? "no name" : "one name");
    int status = begin(&r, o);
    if (status != COMMAND_DONE)
        return status;
    status = list             ? tell_all(&r)
             : verb[0] == 'c' ? create(&r, o->words[1])
             : verb[0] == 'd' ? delete (&r, o->words[1])
                              : tell_one(&r, o->words[1], true);
    return end(&r, status);
}

/* ---- gateway
 * ------------------------------------------------------------------------------------------- */

static int act_one(struct run *r, struct slice name)
{
    struct gateway_outcome outcome;
    struct err e = {0};
    int rc = gateway_act(&r->g, name, r->action, r->o->wait_ms, &outcome, &e);
    if (outcome.registered)
        buf_addf(&r->out, "✓ registered the s6 gateway slot for profile '%.*s'\n", (int)name.len,
                 name.p);
    if (outcome.warning.code != 0)
        (void)command_say(0, "warning: the wish for '%.*s' could not be kept: %s", (int)name.len,
                          name.p, outcome.warning.msg);
    return rc == 0 ? COMMAND_DONE : failed(r, &e);
}

static int act_each(void *ctx, struct slice name)
{
    struct run *r = ctx;
    struct gateway_outcome outcome;
    struct err e = {0};
    if (!slot_exists(&r->g.slots, name))
        return 0;
    if (gateway_act(&r->g, name, r->action, r->o->wait_ms, &outcome, &e) == 0) {
        r->done++;
        return 0;
    }
    r->failed++;
    buf_addf(&r->out, "✗ Could not %s gateway-%.*s: %s\n",
             r->action == GATEWAY_START  ? "start"
             : r->action == GATEWAY_STOP ? "stop"
                                         : "restart",
             (int)name.len, name.p, e.msg);
    return 0;
}

/* Failures do not change the exit status (contract 9). */
static int act_all(struct run *r)
{
    static const char *const past[] = {"Started", "Stopped", "Restarted"};
    struct err e = {0};
    if (profiles_each(&r->g, act_each, r, &e) != 0)
        return command_say(COMMAND_SYSTEM, "%s", e.msg);
    if (r->done + r->failed == 0)
        buf_addlit(&r->out, "✗ No profile gateways registered under s6\n");
    else
        buf_addf(&r->out, "✓ %s %zu profile gateway(s) under s6\n", past[r->action], r->done);
    return COMMAND_DONE;
}

int command_gateway(const struct command_options *o)
{
    static const char *const verbs[] = {"start", "stop", "restart", "status"};
    const char *verb = o->n_words > 0 ? o->words[0] : "";
    struct run r;
    size_t k = 0;
    while (k < ARRAY_LEN(verbs) && strcmp(verb, verbs[k]) != 0)
        k++;
    if (k == ARRAY_LEN(verbs))
        return command_say(COMMAND_USAGE,
                           "gateway: which of start, stop, restart, status? got \"%.100s\"", verb);
    if (o->all && o->n_words > 1)
        return command_say(COMMAND_USAGE, "gateway %s: a name or --all, not both", verb);
    int status = begin(&r, o);
    if (status != COMMAND_DONE)
        return status;
    const char *name = o->n_words > 1 ? o->words[1] : r.l.root_profile;
    if (!o->all && name[0] == '\0')
        return end(&r, command_say(COMMAND_USAGE, "gateway %s: which profile? or --all", verb));
    r.action = (enum gateway_action)(k < 3 ? k : 0);
    if (k == 3)
        status = o->all ? tell_all(&r) : tell_one(&r, name, false);
    else
        status = o->all ? act_all(&r) : act_one(&r, slice_of(name));
    return end(&r, status);
}
