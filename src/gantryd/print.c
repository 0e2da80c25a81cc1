#include "gantryd/print.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "core/workload_doc.h"
#include "gantryd/flags.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PAGE_MAX_BYTES = 16 << 20 };

enum print_what print_parse(const char *text)
{
    static const char *const names[] = {[PRINT_DEFAULT] = "default",
                                        [PRINT_REFERENCE] = "reference",
                                        [PRINT_MAN] = "man",
                                        [PRINT_WORKLOAD] = "workload",
                                        [PRINT_EFFECTIVE] = "effective"};
    for (size_t i = PRINT_DEFAULT; i < ARRAY_LEN(names); i++)
        if (strcmp(text, names[i]) == 0)
            return (enum print_what)i;
    return PRINT_NOTHING;
}

static const char file_head[] =
    "## Configuration of gantryd. See gantryd.yml(5).\n"
    "##\n"
    "## Every key is here with its default. To change one, take the single '#' off its line and "
    "off\n"
    "## the lines of the sections it is in. Files conf.d/*.yml beside this one are read after "
    "it, in\n"
    "## the order of their names; variables (GANTRY_HTTP_LIMITS_MAX_HEAD=32k) come last.\n"
    "## \"gantryd --check-config\" tells every fault with its place; \"gantry config reload\" "
    "or SIGHUP\n"
    "## make changes take effect.\n\n";

static const char reference_head[] =
    "# Configuration of gantryd\n"
    "\n"
    "This page is made from gantryd's own table (`make docs-config`); `gantryd --print-config "
    "reference`\n"
    "prints it. The shipped file with every key in it is [gantryd.yml](../packaging/gantryd.yml)\n"
    "(`gantryd --print-config default`).\n"
    "\n"
    "## Where values come from\n"
    "\n"
    "The later wins:\n"
    "\n"
    "1. the defaults of this page;\n"
    "2. the file: `--config FILE`, else `$CONFIG_FILE`, else `config.yml` in the working "
    "directory, "
    "else\n"
    "   `/etc/gantry/config.yml`;\n"
    "3. the files `*.yml` of the folder `conf.d` beside that file, in the order of their names by "
    "bytes;\n"
    "4. the environment: `GANTRY_` and the key in capitals with `_` for `.`, such as\n"
    "   `GANTRY_HTTP_LIMITS_MAX_HEAD=32k`. Lists of texts are separated by commas\n"
    "   (`GANTRY_CORS_ALLOW_ORIGINS=https://a.example,https://b.example`); other lists and maps "
    "are "
    "YAML\n"
    "   (`GANTRY_CONTAINERS='{robot: {socket_path: /run/robot/agent.sock}}'`). An empty variable "
    "counts as\n"
    "   absent; one of no key is a warning;\n"
    "5. flags (`--log-level`, `--log-format`).\n"
    "\n"
    "Maps are merged by key, lists are replaced. `gantryd --check-config` (or `gantry config "
    "check`) "
    "reads all\n"
    "of it and tells every fault as file:line:column, or with the variable's name; `gantryd "
    "--print-config effective`\n"
    "and `gantry config show` tell each value and where it came from.\n"
    "\n"
    "## Reload\n"
    "\n"
    "SIGHUP, `gantry config reload` and `POST /config/reload` read everything anew. Either all "
    "of it "
    "is valid and\n"
    "can be applied, or nothing changes and the faults are told. Keys below that say \"a reload "
    "changes it\" then have\n"
    "their new values; others are reported and keep the old value until a restart. Limits of "
    "connections and requests\n"
    "count for new connections, times for all. Viewers of a removed or moved container are told "
    "and "
    "closed; a listener that\n"
    "is gone finishes the answers under way within `shutdown.limit`. TLS files are read again each "
    "time.\n"
    "\n"
    "Times are written as 250ms, 5s, 2m, 1h, 1d, sizes as 512, 64k, 8M, 1G. `NAME` stands for a "
    "key "
    "of your own,\n"
    "`[]` for each entry of a list. Unknown keys are errors.\n";

static const char workload_head[] =
    "# Workload documents\n"
    "\n"
    "This page is made from the table that reads documents (`make docs-config`); `gantryd "
    "--print-config workload`\n"
    "prints it.\n"
    "\n"
    "A document says what should run. It is YAML or JSON of at most 1 MiB; a file may hold "
    "several, "
    "with lines `---`\n"
    "between them.\n"
    "\n"
    "```yaml\n"
    "id: web\n"
    "container:\n"
    "  image: busybox:1.36\n"
    "  command: [httpd, \"-f\", \"-p\", \"80\"]\n"
    "  env: {LEVEL: debug}\n"
    "  secret_env: {TOKEN: \"...\"}\n"
    "  volumes:\n"
    "  - {host_path: /srv/www, container_path: /www, read_only: true}\n"
    "  ports:\n"
    "  - {host_port: 8080, container_port: 80}\n"
    "  resources: {memory_bytes: 64M}\n"
    "depends_on:\n"
    "- {id: db, condition: healthy}\n"
    "health: {kind: http, port: 80, path: /health, interval: 5s, action: restart}\n"
    "```\n"
    "\n"
    "Unknown keys are errors, and all faults of a text are told in one pass, with line and "
    "column. What is left out has\n"
    "its default: a document with a default written out is the same document. Texts that look like "
    "numbers or booleans\n"
    "need no quotes in variables, labels, commands and names: they are taken as they are "
    "written.\n"
    "\n"
    "Values of `secret_env` and `registry.password` are stored sealed, and shown as `(set)`.\n"
    "\n"
    "Times are written as 250ms, 5s, 2m, 1h, 1d (a number alone is seconds), sizes as 512, 64k, "
    "8M, "
    "1G. `[]` stands for\n"
    "each entry of a list.\n";

static const char man_head[] =
    ".TH GANTRYD.YML 5 \"2026-11-21\" \"Gantry\" \"File formats\"\n"
    ".SH NAME\n"
    "gantryd.yml \\- configuration of gantryd\n"
    ".SH DESCRIPTION\n"
    "YAML. Unknown keys are errors; each fault is told as file:line:column. Times are written as "
    "250ms, 5s, 2m, 1h, 1d,\n"
    "sizes as 512, 64k, 8M, 1G. Below, NAME stands for a key of your own, and [] for each entry "
    "of a "
    "list.\n"
    ".PP\n"
    "Values come from the defaults, this file, the files *.yml of the folder\n"
    ".B conf.d\n"
    "beside it in the order of their names, variables\n"
    ".RB ( GANTRY_HTTP_LIMITS_MAX_HEAD=32k\n"
    "for http.limits.max_head; lists of texts separated by commas, other lists and maps as YAML), "
    "and flags; the later wins.\n"
    "Maps are merged by key, lists are replaced.\n"
    ".PP\n"
    "A reload (SIGHUP, or gantry config reload) changes the keys that say so, all of them or none; "
    "others are reported and wait for a restart.\n"
    ".SH KEYS\n";

static const char man_tail[] = ".SH FILES\n"
                               ".TP\n"
                               ".I /etc/gantry/config.yml\n"
                               ".TQ\n"
                               ".I /etc/gantry/conf.d/*.yml\n"
                               ".SH SEE ALSO\n"
                               ".BR gantryd (8),\n"
                               ".BR gantry (1)\n";

struct effective {
    struct buf *out;
    const struct settings *s;
};

static int write_leaf(void *ctx, const struct schema_leaf *leaf)
{
    struct effective *w = ctx;
    if (!schema_has_value(leaf->field, leaf->obj))
        return 0;
    (void)buf_addf(w->out, "%s: ", leaf->path);
    struct buf text = BUF_INIT(PAGE_MAX_BYTES);
    schema_write_value(leaf->field, leaf->obj, false, &text);
    if (leaf->field->type == SCHEMA_STR) {
        (void)buf_addc(w->out, '"');
        (void)str_add_printable(w->out, (struct slice){text.data, text.len});
        (void)buf_addc(w->out, '"');
    } else {
        (void)buf_add(w->out, text.data, text.len);
    }
    (void)buf_addf(w->out, "  # %s\n", settings_origin(w->s, leaf->path));
    int rc = text.err != 0 ? text.err : w->out->err;
    buf_done(&text);
    return rc;
}

int print_write(enum print_what what, struct settings *s, struct buf *out)
{
    struct effective w = {out, s};
    switch (what) {
    case PRINT_NOTHING:
        break;
    case PRINT_DEFAULT:
        (void)buf_adds(out, file_head);
        return schema_write_template(&config_schema, out);
    case PRINT_REFERENCE:
        (void)buf_adds(out, reference_head);
        return schema_write_markdown(&config_schema, out);
    case PRINT_MAN:
        (void)buf_adds(out, man_head);
        (void)schema_write_roff(&config_schema, out);
        return buf_adds(out, man_tail);
    case PRINT_WORKLOAD:
        (void)buf_adds(out, workload_head);
        return schema_write_markdown(&workload_doc_schema, out);
    case PRINT_EFFECTIVE:
        return schema_walk(&config_schema, &s->c, false, write_leaf, &w);
    }
    return 0;
}

int print_config(enum print_what what, struct settings *s)
{
    struct buf out = BUF_INIT(PAGE_MAX_BYTES);
    struct err e = {0};
    int rc = print_write(what, s, &out);
    if (rc != 0)
        err_set(&e, rc, "%s", err_row(rc)->text);
    else
        rc = file_write_all(STDOUT_FILENO, (struct slice){out.data, out.len}, &e);
    buf_done(&out);
    if (rc != 0)
        fprintf(stderr, "gantryd: cannot print the configuration: %s\n", e.msg);
    return rc == 0 ? EXIT_FINE : EXIT_NEGATIVE;
}
