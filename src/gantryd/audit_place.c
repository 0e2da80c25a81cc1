#include "gantryd/audit_place.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLACE_MAX 1024
#define FOLDER_MODE 0750

/* Makes the folders of a path below the first `kept` bytes, which are there. */
static int make_folders(char *path, size_t kept, struct err *e)
{
    for (char *slash = strchr(path + kept + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int rc = mkdir(path, FOLDER_MODE);
        int sys = errno;
        if (rc != 0 && sys != EEXIST)
            err_sys(e, sys, "cannot make folder \"%s\"", path);
        *slash = '/';
        if (rc != 0 && sys != EEXIST)
            return ERR_IO;
    }
    return 0;
}

/* The folder that a service manager made for logs (LogsDirectory=, systemd.exec(5)); NULL: none, or
 * several. */
static const char *service_folder(void)
{
    const char *folder = getenv("LOGS_DIRECTORY");
    return folder != NULL && folder[0] == '/' && strchr(folder, ':') == NULL ? folder : NULL;
}

static int default_place(char out[PLACE_MAX], struct err *e)
{
    const char *base = "/var/log", *below = "";
    const char *given = service_folder();
    if (given != NULL) {
        int n = snprintf(out, PLACE_MAX, "%s/audit.log", given);
        return n > 0 && n < PLACE_MAX
                   ? 0
                   : err_set(e, ERR_LIMIT, "folder \"%.200s\" has too long a name", given);
    }
    if (geteuid() != 0) {
        base = getenv("XDG_STATE_HOME");
        if (base == NULL || base[0] != '/') {
            base = getenv("HOME");
            below = "/.local/state";
        }
        if (base == NULL || base[0] != '/')
            return err_set(e, ERR_NOT_FOUND, "neither XDG_STATE_HOME nor HOME names a folder");
    }
    int n = snprintf(out, PLACE_MAX, "%s%s/gantry/audit.log", base, below);
    if (n < 0 || n >= PLACE_MAX)
        return err_set(e, ERR_LIMIT, "folder \"%.200s\" has too long a name", base);
    return make_folders(out, strlen(base), e);
}

int audit_open(struct audit **ret, struct loop *l, const struct config_audit *c, struct err *e)
{
    char place[PLACE_MAX];
    struct audit_options o = {
        .file = c->file, .max_size = (uint64_t)c->max_size, .keep = (unsigned)c->keep};
    if (c->file != NULL) {
        if (strcmp(c->file, "none") == 0)
            o.file = NULL;
        return audit_new(ret, l, &o, e);
    }
    struct err why = {0};
    o.file = place;
    if (default_place(place, &why) == 0 && audit_new(ret, l, &o, &why) == 0)
        return 0;
    if (why.code == ERR_NO_MEMORY) {
        *e = why;
        return why.code;
    }
    LOG(WARN, "gantryd", "no-audit-file", "going on without an audit file, records go to the log",
        LF_ERR(&why));
    o.file = NULL;
    return audit_new(ret, l, &o, e);
}
