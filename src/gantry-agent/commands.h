/* commands.h: what gantry-agent does besides serving: `reconcile`, `port`. They block, print for
 * people, and end. */
#ifndef GANTRY_AGENT_COMMANDS_H
#define GANTRY_AGENT_COMMANDS_H

#include "base/base.h"

/* Exit statuses of the commands (contract profile-gateways, 15.1). */
enum { COMMAND_DONE = 0, COMMAND_FAILED = 1, COMMAND_USAGE = 100, COMMAND_SYSTEM = 111 };

/* True if this word is one of the commands. */
bool command_known(const char *word);
/* argv[1] is the command. Returns the exit status, having said what there is to say. */
int command_run(int argc, char **argv);

#endif
