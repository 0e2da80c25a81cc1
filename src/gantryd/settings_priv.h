/* settings_priv.h: what the files of the settings share. */
#ifndef GANTRY_GANTRYD_SETTINGS_PRIV_H
#define GANTRY_GANTRYD_SETTINGS_PRIV_H

#include "gantryd/settings.h"

struct settings_json {
    const struct settings *s;
    struct json_out *j;
};

/* ERR_NO_MEMORY; what is wrong otherwise is a fault. */
int settings_read_env(struct settings *s, const char *const *env, struct err *e);
int settings_read_flags(struct settings *s, const struct settings_flag *flags, size_t n,
                        struct err *e);
/* Sets the value of a key that there is; `place` is told in faults, and becomes its origin. */
int settings_take(struct settings *s, const char *key, const char *place, struct slice value);
/* settings_persys.c: the variables of the compute agent, and the file they name; before
 * settings_read_env. */
int settings_read_persys(struct settings *s, const char *const *env, struct err *e);
int settings_set_origin(struct settings *s, const char *key, const char *text);
int settings_take_report(struct settings *s, const char *place, bool lines,
                         const struct schema_report *r);

#endif
