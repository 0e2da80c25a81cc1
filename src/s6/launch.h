/* launch.h: what a service's run script is told when it is started: the robot's type, and arguments
 * for ros2 launch (talos contract 3.5, "C additions").
 *
 * Run scripts put the arguments into a line that a shell reads (bash -c "ros2 launch ... $(cat
 * FILE)"). So each value is written as one word of a POSIX shell: as it is if it has only letters,
 * digits and _ - . / : = + , @ %, else in single quotes (contract 7, no. 7).
 */
#ifndef GANTRY_S6_LAUNCH_H
#define GANTRY_S6_LAUNCH_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"

enum {
    S6_LAUNCH_ARGS_MAX = 64,
    S6_LAUNCH_NAME_MAX = 128,       /* bytes of an argument's name */
    S6_LAUNCH_VALUE_MAX = 4096,     /* bytes of its value */
    S6_LAUNCH_LINE_MAX = 32 * 1024, /* bytes of the file */
};

/* Appends "name:=value", after a blank if there is something before it. ERR_INVALID: a name that is
 * not a letter or '_' and then letters, digits and _ - . /, or a value with a control character;
 * ERR_LIMIT, ERR_NO_MEMORY. */
int s6_launch_arg(struct buf *line, struct slice name, struct slice value, struct err *e);
/* Replaces <run_dir>/launch_args/<service>, or removes it if the line is empty. The folder is made
 * if needed. service must have passed name_is_safe. */
int s6_launch_write(const char *run_dir, struct slice service, struct slice line, struct err *e);

/* One of sg2, bg2, sh5 and bh5, trimmed and in lower case; NULL: it is none. */
const char *s6_robot_type(struct slice text);
/* Replaces <run_dir>/robot_type; no newline. */
int s6_robot_type_write(const char *run_dir, const char *type, struct err *e);

#endif
