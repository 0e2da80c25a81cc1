#include "gantry/cli.h"

#define ACT "CONTAINER SERVICE..."

const struct verb cli_verbs[] = {
    {NULL, "containers", "", 0, 0, 0, "the configured containers", NULL, cmd_containers},
    {NULL, "services", "CONTAINER", 1, 1, 0, "the services in a container", NULL, cmd_services},
    {NULL, "status", "CONTAINER [SERVICE]", 1, 2, 0, "state of all services, or of one",
     "  UPTIME is the time in the present state, DETAIL what s6 says beyond up and down.\n",
     cmd_status},
    {NULL, "up", ACT, 2, -1, 0, "start services", NULL, cmd_control},
    {NULL, "down", ACT, 2, -1, 0, "stop services", NULL, cmd_control},
    {NULL, "restart", ACT, 2, -1, 0, "stop and start services", NULL, cmd_control},
    {NULL, "logs", "CONTAINER SERVICE", 2, 2,
     OPTION_BIT(OPTION_FOLLOW) | OPTION_BIT(OPTION_LINES) | OPTION_BIT(OPTION_CLEAR),
     "what a service has logged",
     "  With -f it goes on after gantryd or the container was restarted, at the place where it\n"
     "  stopped. On a terminal, control characters other than colours are made visible.\n",
     cmd_logs},
    {NULL, "run-script", "CONTAINER SERVICE", 2, 2, OPTION_BIT(OPTION_SET),
     "print or replace a service's run script", NULL, cmd_run_script},
    {"docker", "ps", "", 0, 0, OPTION_BIT(OPTION_ALL), "Docker containers", NULL, cmd_docker_ps},
    {"docker", "status", "NAME", 1, 1, 0, "state of a Docker container", NULL, cmd_docker_status},
    {"docker", "start", "NAME...", 1, -1, 0, "start Docker containers", NULL, cmd_docker_control},
    {"docker", "stop", "NAME...", 1, -1, OPTION_BIT(OPTION_TIME), "stop Docker containers", NULL,
     cmd_docker_control},
    {"docker", "restart", "NAME...", 1, -1, OPTION_BIT(OPTION_TIME),
     "stop and start Docker containers", NULL, cmd_docker_control},
    {"docker", "logs", "NAME", 1, 1, OPTION_BIT(OPTION_LINES),
     "what a Docker container has printed",
     "  -n all prints everything that the engine has kept.\n", cmd_docker_logs},
    {NULL, "help", "[COMMAND]", 0, 2, 0, "help for everything, or for one command", NULL, cmd_help},
};
const size_t cli_n_verbs = ARRAY_LEN(cli_verbs);
