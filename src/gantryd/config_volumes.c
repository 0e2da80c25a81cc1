#include "gantryd/config_volumes.h"

#include <string.h>

#define FIELD(name_, type_, struct_, member_, ...)                                                 \
    {                                                                                              \
        .name = (name_), .type = (type_), .offset = offsetof(struct struct_, member_), __VA_ARGS__ \
    }
#define SCHEMA(struct_, fields_, ...)                                                              \
    {                                                                                              \
        .size = sizeof(struct struct_), .fields = (fields_), .n_fields = ARRAY_LEN(fields_),       \
        __VA_ARGS__                                                                                \
    }
#define PATH_MOST 1000 /* names are put behind it */

/* Absolute, short enough, and such that a program takes it for nothing else. */
static int check_folder(const void *member, struct err *e)
{
    const char *text = *(const char *const *)member;
    if (text == NULL || text[0] == '\0')
        return 0;
    size_t n = strlen(text);
    if (text[0] == '/' && n > 1 && n <= PATH_MOST && strstr(text, "..") == NULL &&
        text[n - 1] != '/')
        return 0;
    return err_set(e, ERR_INVALID,
                   "\"%.200s\" is not a folder's absolute path without \"..\" and \"/\" at its end",
                   text);
}

/* Words that become arguments of programs. */
static int check_word(const void *member, struct err *e)
{
    const char *text = *(const char *const *)member;
    if (text == NULL || text[0] == '\0')
        return 0;
    bool fine = text[0] != '-' && strlen(text) <= 200;
    for (const char *p = text; fine && *p != '\0'; p++)
        fine = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
               strchr("-_.:[]", *p) != NULL;
    return fine ? 0
                : err_set(e, ERR_INVALID,
                          "\"%.200s\" is not a word of letters, digits, \"-\", \"_\", \".\", \":\"",
                          text);
}

static int check_options(const void *member, struct err *e)
{
    const char *text = *(const char *const *)member;
    for (const char *p = text; p != NULL && *p != '\0'; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7f || strlen(text) > 900)
            return err_set(e, ERR_INVALID, "\"%.200s\" are not options of mount, with commas",
                           text);
    return 0;
}

static const struct schema_field nfs_fields[] = {
    FIELD("server", SCHEMA_STR, config_nfs, server, .check = check_word, .example = "files.lan",
          .doc = "Server of volumes of driver nfs; without it there are none"),
    FIELD("export", SCHEMA_STR, config_nfs, export, .check = check_folder,
          .example = "/srv/volumes", .doc = "What it exports; each volume is a folder of it"),
    FIELD("options", SCHEMA_STR, config_nfs, options, .check = check_options,
          .example = "vers=4.2,soft", .doc = "Options of mount, behind nosuid and nodev"),
    FIELD("stage_root", SCHEMA_STR, config_nfs, stage_root, .check = check_folder,
          .def = "/var/lib/persys/volumes/nfs",
          .doc = "The export is mounted below it, while a workload uses a volume of it"),
};
static const struct schema nfs_schema =
    SCHEMA(config_nfs, nfs_fields, .name = "VolumesNfs", .doc = "Volumes of an NFS server");

static const struct schema_field ceph_fields[] = {
    FIELD("pool", SCHEMA_STR, config_ceph, pool, .check = check_word, .example = "rbd",
          .doc = "Pool of volumes of driver ceph-rbd; without it there are none"),
    FIELD("cluster", SCHEMA_STR, config_ceph, cluster, .check = check_word, .example = "ceph",
          .doc = "Name of the cluster; without it the one of the program rbd"),
    FIELD("user", SCHEMA_STR, config_ceph, user, .check = check_word, .example = "gantry",
          .doc = "Who asks it, without \"client.\""),
    FIELD("keyring", SCHEMA_STR, config_ceph, keyring, .check = check_folder,
          .example = "/etc/ceph/ceph.client.gantry.keyring", .doc = "File with the user's key"),
    FIELD("stage_root", SCHEMA_STR, config_ceph, stage_root, .check = check_folder,
          .def = "/var/lib/persys/volumes/ceph-rbd",
          .doc = "Images are mounted below it, while a container uses them"),
};
static const struct schema ceph_schema =
    SCHEMA(config_ceph, ceph_fields, .name = "VolumesCeph", .doc = "Volumes of a Ceph cluster");

static const struct schema_field volumes_fields[] = {
    FIELD("local_root", SCHEMA_STR, config_volumes, local_root, .check = check_folder,
          .example = "/var/lib/persys/volumes/local",
          .doc = "Volumes of driver local are folders of it; it is made if it is missing. Default: "
                 "/var/lib/persys/volumes/local if gantryd is root, else the folder volumes beside "
                 "the store"),
    FIELD("tool_limit", SCHEMA_DURATION, config_volumes, tool_limit, .min = 1000, .max = 3600000,
          .def = "30s", .unit = "ms",
          .doc = "Time for one program such as mount, umount or rbd; then it is ended"),
    FIELD("nfs", SCHEMA_STRUCT, config_volumes, nfs, .sub = &nfs_schema,
          .doc = "Volumes of an NFS server"),
    FIELD("ceph", SCHEMA_STRUCT, config_volumes, ceph, .sub = &ceph_schema,
          .doc = "Volumes of a Ceph cluster"),
};
const struct schema config_volumes_schema =
    SCHEMA(config_volumes, volumes_fields, .name = "Volumes");
