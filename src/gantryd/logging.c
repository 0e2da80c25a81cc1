#include "gantryd/logging.h"

#include "base/log.h"

#include <unistd.h>

static void set_rooms(const struct config *c, bool on)
{
    char *const *rooms = c->log.rooms.items;
    for (size_t i = 0; i < c->log.rooms.count; i++) {
        char room[32];
        int level;
        if (room_level_parse(rooms[i], room, &level, NULL) == 0)
            (void)log_set_room_level(room, on ? level : -1); /* as many as there is room for */
    }
}

void logging_setup(const struct config *c, const struct config *before)
{
    log_setup(STDERR_FILENO, (enum log_format)c->log.format, (enum log_level)c->log.level);
    if (before != NULL)
        set_rooms(before, false);
    set_rooms(c, true);
}

void logging_faults(const struct settings *s)
{
    for (size_t i = 0; i < s->n_faults; i++) {
        const struct settings_fault *f = &s->faults[i];
        if (f->warning)
            LOG(WARN, "gantryd", "config-not-served", f->msg, LF_STR("file", f->place),
                LF_INT("line", f->line));
        else
            LOG(ERROR, "gantryd", "config-fault", f->msg, LF_STR("file", f->place),
                LF_INT("line", f->line), LF_INT("column", f->column));
    }
}
