/* A user of a machine, from the three members that later clients send instead of user data. */
#include "api/grpc/agent_priv.h"

#include "base/json_out.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

enum { USER_DATA_MAX = 1 << 20 }; /* what is too much the document's check says */

static int check_name(const char *name, struct err *e)
{
    size_t n = strlen(name);
    bool fine = n <= 32 && ((name[0] >= 'a' && name[0] <= 'z') || name[0] == '_');
    for (size_t i = 1; fine && i < n; i++)
        fine = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9') ||
               name[i] == '-' || name[i] == '_';
    return fine ? 0
                : err_set(e, ERR_INVALID,
                          "invalid request: username \"%.40s\" is not the name of a user", name);
}

static void put_keys(struct json_out *j, const char *text)
{
    struct slice rest = slice_of(text), line;
    json_key(j, "ssh_authorized_keys");
    json_arr(j);
    while (slice_split(&rest, '\n', &line)) {
        line = slice_trim(line);
        if (line.len > 0)
            json_str(j, line);
    }
    json_end_arr(j);
}

/* The image's own first user gets the name, so that it keeps the groups and rights that the image
 * gives it. JSON is YAML, and no text can leave its quotes. */
int agent_user_data(const Persys__Agent__V1__CloudInitConfig *c, char **ret, struct err *e)
{
    struct buf b = BUF_INIT(USER_DATA_MAX);
    struct json_out j;
    int rc = c->username[0] != '\0' ? check_name(c->username, e) : 0;
    if (rc != 0)
        return rc;
    (void)buf_addlit(&b, "#cloud-config\n");
    json_begin(&j, &b);
    json_obj(&j);
    if (c->username[0] != '\0')
        json_kstr(&j, "user", c->username);
    if (c->password[0] != '\0') {
        json_kstr(&j, "password", c->password);
        json_key(&j, "chpasswd");
        json_obj(&j);
        json_kbool(&j, "expire", false);
        json_end_obj(&j);
        json_kbool(&j, "ssh_pwauth", true);
    }
    if (c->ssh_public_key[0] != '\0')
        put_keys(&j, c->ssh_public_key);
    json_end_obj(&j);
    (void)buf_addlit(&b, "\n");
    if (b.err == ERR_LIMIT)
        rc = err_set(e, ERR_INVALID, "invalid request: the members of a user are too long");
    else if ((*ret = buf_steal(&b, NULL)) == NULL)
        rc = ERR_NO_MEMORY;
    if (b.data != NULL)
        mem_wipe(b.data, b.cap);
    buf_done(&b);
    return rc;
}
