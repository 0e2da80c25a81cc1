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
int settings_set_origin(struct settings *s, const char *key, const char *text);
int settings_take_report(struct settings *s, const char *place, bool lines,
                         const struct schema_report *r);

#endif
