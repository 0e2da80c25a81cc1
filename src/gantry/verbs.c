#include "gantry/cli.h"

#define ACT "CONTAINER SERVICE..."
#define GATEWAYS "CONTAINER PROFILE..."
#define WATCH OPTION_BIT(OPTION_WATCH)
#define WAIT OPTION_BIT(OPTION_WAIT)
#define FILES OPTION_BIT(OPTION_FILE)
#define FORCE OPTION_BIT(OPTION_FORCE)
#define DRY_RUN OPTION_BIT(OPTION_DRY_RUN)
#define IF_MATCH OPTION_BIT(OPTION_IF_MATCH)

const struct verb cli_verbs[] = {
    {NULL, "apply", "", 0, 0, FILES | DRY_RUN | FORCE | WAIT, "make workloads what documents say",
     "  Every document of all files is checked before the first one is sent. A folder stands for\n"
     "  its *.yaml, *.yml and *.json. The same document twice changes nothing. --wait: until each\n"
     "  is running, and healthy if it has a check.\n"
     "  gantry apply -f web.yaml --wait --timeout 2m\n",
     cmd_apply},
    {NULL, "diff", "", 0, 0, FILES | FORCE, "what apply would change",
     "  Exit status 0: nothing, 1: something.\n", cmd_diff},
    {NULL, "get", "[ID...]", 0, -1, WATCH, "workloads and how they are",
     "  `gantry get workloads` is the same as `gantry get`; * in an ID stands for anything.\n",
     cmd_get},
    {NULL, "describe", "ID...", 1, -1, WATCH, "all about workloads, with their documents", NULL,
     cmd_describe},
    {NULL, "explain", "[node | ID | CONTAINER SERVICE]", 0, 2, WATCH, "why something is as it is",
     "  What it is, what it should be, why it is not, since when, what comes next, and who\n"
     "  asked.\n"
     "  Without words, or with `node`: this machine, if no workload is named so.\n",
     cmd_explain},
    {NULL, "delete", "[ID...]", 0, -1, FILES | FORCE | WAIT, "stop workloads and forget them",
     "  Those that need others go first. --force waits neither for lock files nor for\n"
     "  workloads that depend on it.\n",
     cmd_delete},
    {NULL, "retry", "ID...", 1, -1, WAIT, "try again now, also what was given up", NULL,
     cmd_workload_act},
    {NULL, "force", "ID...", 1, -1, WAIT, "do not wait for the lock file any more", NULL,
     cmd_workload_act},
    {NULL, "exec", "ID COMMAND...", 2, -1,
     OPTION_BIT(OPTION_INTERACTIVE) | OPTION_BIT(OPTION_TTY) | OPTION_BIT(OPTION_USER) |
         OPTION_BIT(OPTION_SERVICE),
     "run a program in a workload",
     "  Words behind COMMAND are the program's own. The exit status is the program's.\n"
     "  gantry exec -it web sh\n"
     "  gantry exec shop --service db -- df -h\n",
     cmd_exec, .own = 2},
    {NULL, "console", "ID", 1, 1, FORCE, "the serial console of a virtual machine",
     "  Every key goes to the machine; Ctrl-] ends it. --force takes it from whom has it.\n",
     cmd_console},
    {"snapshot", "list", "ID", 1, 1, 0, "snapshots of a virtual machine", NULL, cmd_snapshot_list},
    {"snapshot", "create", "ID NAME", 2, 2, 0, "keep a virtual machine as it is now",
     "  Inside its disks (qcow2), with its memory if it runs.\n", cmd_snapshot_create},
    {"snapshot", "revert", "ID NAME", 2, 2, 0, "bring a virtual machine back to a snapshot",
     "  What it has written since is lost.\n", cmd_snapshot_revert},
    {"snapshot", "delete", "ID NAME", 2, 2, 0, "drop a snapshot", NULL, cmd_snapshot_delete},
    {NULL, "stats", "[ID...]", 0, -1, WATCH, "what workloads use",
     "  Without ID: of all that run; of more than 64 the samples of gantryd's last round.\n",
     cmd_stats},
    {NULL, "top", "[ID...]", 0, -1, WATCH, "what workloads use, again and again",
     "  The busiest first; q ends it on a terminal.\n", cmd_top},
    {NULL, "events", "", 0, 0,
     OPTION_BIT(OPTION_FOLLOW) | OPTION_BIT(OPTION_KIND) | OPTION_BIT(OPTION_NAME) |
         OPTION_BIT(OPTION_TYPE),
     "what has happened, as far as it is kept",
     "  With -f how everything is, and then what happens. It goes on after gantryd was "
     "restarted.\n",
     cmd_events},
    {NULL, "tasks", "[ID]", 0, 1, OPTION_BIT(OPTION_LINES) | WATCH,
     "what was asked for, and what became of it", NULL, cmd_tasks},
    {NULL, "wait", "ID...", 1, -1, OPTION_BIT(OPTION_FOR), "until workloads are as they should be",
     "  --for running (for a second at least), stopped, healthy or deleted; --timeout is for all\n"
     "  of them together (30s). What was given up ends it at once.\n",
     cmd_wait},
    {"import", "docker-run", "[COMMAND...]", 0, -1,
     OPTION_BIT(OPTION_FILE) | OPTION_BIT(OPTION_APPLY) | OPTION_BIT(OPTION_KEEP_GOING) | WAIT,
     "a docker run command line as a workload",
     "  Prints the document, or applies it. -f FILE holds the command line, else its words "
     "follow.\n"
     "  gantry import docker-run -- docker run -d --name web -p 8080:80 nginx\n",
     cmd_import, true, 1},
    {"import", "compose", "FILE", 1, 1,
     OPTION_BIT(OPTION_ID) | OPTION_BIT(OPTION_ENV_FILE) | OPTION_BIT(OPTION_APPLY) | WAIT,
     "a Compose file as a workload",
     "  Prints the document, or applies it. Relative paths are made absolute, and told; what\n"
     "  needs files that cannot come along (build, extends, include) is refused.\n"
     "  gantry import compose shop/docker-compose.yml --id shop >shop.yaml\n",
     cmd_import_compose, true},
    {"compose", "ps", "ID", 1, 1, WATCH, "the services of a Compose project", NULL, cmd_compose_ps},
    {"compose", "logs", "ID [SERVICE]", 1, 2,
     OPTION_BIT(OPTION_FOLLOW) | OPTION_BIT(OPTION_LINES) | OPTION_BIT(OPTION_SINCE),
     "what a Compose project's services have logged",
     "  Of all of them in the order of time, each line with its service's name; -f goes on.\n",
     cmd_compose_logs},
    {NULL, "node", "", 0, 0, WATCH, "the machine, how full it is, what it can run", NULL, cmd_node},
    {NULL, "containers", "", 0, 0, WATCH, "the configured containers", NULL, cmd_containers},
    {NULL, "services", "CONTAINER", 1, 1, WATCH, "the services in a container", NULL, cmd_services},
    {NULL, "status", "CONTAINER [SERVICE]", 1, 2, WATCH, "state of all services, or of one",
     "  UPTIME is the time in the present state, DETAIL what s6 says beyond up and down.\n",
     cmd_status},
    {NULL, "up", ACT, 2, -1, WAIT | FORCE, "start services",
     "  --force: also those that the configuration makes wait for a workload.\n", cmd_control},
    {NULL, "down", ACT, 2, -1, WAIT, "stop services", NULL, cmd_control},
    {NULL, "restart", "ID | " ACT, 1, -1, WAIT | FORCE, "stop and start a workload, or services",
     "  One word is a workload. --force: do not wait for its lock file; of services, start also\n"
     "  those that wait for a workload.\n",
     cmd_restart},
    {NULL, "logs", "ID | CONTAINER SERVICE", 1, 2,
     OPTION_BIT(OPTION_FOLLOW) | OPTION_BIT(OPTION_LINES) | OPTION_BIT(OPTION_CLEAR) |
         OPTION_BIT(OPTION_SINCE),
     "what a workload or a service has logged",
     "  One word is a workload; -o wide shows time and stream (O, E) of each line. -n all and\n"
     "  --since are for workloads, --clear is for services.\n"
     "  With -f it goes on after gantryd or the container was restarted, at the place where it\n"
     "  stopped. On a terminal, control characters other than colours are made visible.\n",
     cmd_logs},
    {NULL, "run-script", "CONTAINER SERVICE", 2, 2, OPTION_BIT(OPTION_SET) | IF_MATCH,
     "print or replace a service's run script", NULL, cmd_run_script},
    {"run-script", "get", "CONTAINER SERVICE", 2, 2, OPTION_BIT(OPTION_ETAG),
     "print a service's run script", NULL, cmd_run_script_get},
    {"run-script", "put", "CONTAINER SERVICE FILE", 3, 3, IF_MATCH,
     "replace it by FILE (-: standard input)",
     "  The replaced script is kept as a backup. It runs from the next time that the container\n"
     "  compiles its services.\n",
     cmd_run_script_put},
    {"run-script", "edit", "CONTAINER SERVICE", 2, 2, 0, "change it with an editor",
     "  $VISUAL, else $EDITOR, else vi; its words are taken as a shell would, but no shell is\n"
     "  asked. What somebody else has written meanwhile is not overwritten: then your text is\n"
     "  kept in a file.\n",
     cmd_run_script_edit},
    {"run-script", "revert", "CONTAINER SERVICE [BACKUP]", 2, 3, IF_MATCH,
     "bring back a backup, else the newest",
     "  What it replaces becomes the newest backup: a second revert undoes the first.\n",
     cmd_run_script_revert},
    {"run-script", "backups", "CONTAINER SERVICE", 2, 2, WATCH, "the last 5 that were replaced",
     NULL, cmd_run_script_backups},
    {"profiles", "list", "CONTAINER", 1, 1, WATCH, "the profiles of a container", NULL,
     cmd_profiles_list},
    {"profiles", "show", "CONTAINER PROFILE", 2, 2, WATCH, "a profile and its gateway", NULL,
     cmd_profiles_show},
    {"profiles", "create", "CONTAINER NEW-PROFILE", 2, 2, OPTION_BIT(OPTION_ENV),
     "make a profile, its gateway down",
     "  Variables are kept with the profile and given to its gateway at each start. Others see\n"
     "  this command line: a secret is better taken from the environment, as --env NAME.\n",
     cmd_profiles_create},
    {"profiles", "delete", GATEWAYS, 2, -1, 0, "remove profiles with all their files", NULL,
     cmd_profiles_delete},
    {"profiles", "start", GATEWAYS, 2, -1, WAIT, "start gateways, now and at each boot", NULL,
     cmd_profiles_act},
    {"profiles", "stop", GATEWAYS, 2, -1, WAIT, "stop gateways, now and at each boot", NULL,
     cmd_profiles_act},
    {"profiles", "restart", GATEWAYS, 2, -1, WAIT, "stop and start gateways", NULL,
     cmd_profiles_act},
    {"docker", "ps", "", 0, 0, OPTION_BIT(OPTION_ALL) | WATCH, "Docker containers", NULL,
     cmd_docker_ps},
    {"docker", "status", "NAME", 1, 1, WATCH, "state of a Docker container", NULL,
     cmd_docker_status},
    {"docker", "start", "NAME...", 1, -1, WAIT, "start Docker containers", NULL,
     cmd_docker_control},
    {"docker", "stop", "NAME...", 1, -1, OPTION_BIT(OPTION_TIME) | WAIT, "stop Docker containers",
     NULL, cmd_docker_control},
    {"docker", "restart", "NAME...", 1, -1, OPTION_BIT(OPTION_TIME) | WAIT,
     "stop and start Docker containers", NULL, cmd_docker_control},
    {"docker", "logs", "NAME", 1, 1, OPTION_BIT(OPTION_LINES),
     "what a Docker container has printed",
     "  -n all prints everything that the engine has kept.\n", cmd_docker_logs},
    {"docker", "version", "NAME", 1, 1, 0, "version of a robot's software (ai_worker)", NULL,
     cmd_docker_version},
    {"bashrc", "get", "DOCKER-CONTAINER", 1, 1, 0, "print root's .bashrc in a container", NULL,
     cmd_bashrc_get},
    {"bashrc", "put", "DOCKER-CONTAINER FILE", 2, 2, 0, "replace it by FILE (-: standard input)",
     NULL, cmd_bashrc_put},
    {NULL, "health", "", 0, 0, WATCH, "whether gantryd is ready, and why not", NULL, cmd_health},
    {NULL, "metrics", "", 0, 0, 0, "gantryd's metrics, as Prometheus reads them", NULL,
     cmd_metrics},
    {NULL, "audit", "", 0, 0,
     OPTION_BIT(OPTION_FOLLOW) | OPTION_BIT(OPTION_LINES) | OPTION_BIT(OPTION_WHO) |
         OPTION_BIT(OPTION_SINCE),
     "who changed what, and who was refused",
     "  With -f it goes on, asking every second. -o wide shows request, peer and detail too.\n",
     cmd_audit},
    {NULL, "api", "METHOD PATH", 2, 2,
     OPTION_BIT(OPTION_DATA) | OPTION_BIT(OPTION_HEADER) | OPTION_BIT(OPTION_INCLUDE),
     "one call to gantryd, as it is",
     "  Prints the body of the answer, also of one that is no success. An -H before `api` is\n"
     "  --host. `gantry api GET /openapi.json` lists the calls.\n",
     cmd_api},
    {NULL, "whoami", "", 0, 0, 0, "who we are to gantryd, and what we may do", NULL, cmd_whoami},
    {"token", "create", "NEW-TOKEN", 1, 1,
     OPTION_BIT(OPTION_ROLE) | OPTION_BIT(OPTION_RIGHT) | OPTION_BIT(OPTION_EXPIRES),
     "make a token and print it, this once",
     "  A right is a verb (read, control, write, delete, admin, *), a kind (service, container,\n"
     "  docker-container, ...; *) and a pattern of names: --right 'control service robot/*'.\n"
     "  gantry token create dashboard --role viewer --expires 30d >dashboard.token\n",
     cmd_token_create},
    {"token", "list", "", 0, 0, WATCH, "the tokens, without what they are", NULL, cmd_token_list},
    {"token", "revoke", "TOKEN...", 1, -1, 0, "refuse tokens from now on", NULL, cmd_token_revoke},
    {"volumes", "list", "", 0, 0, WATCH, "managed volumes of workloads, and who uses them", NULL,
     cmd_volumes_list},
    {"volumes", "show", "VOLUME", 1, 1, 0, "one volume: where it is, whose it is", NULL,
     cmd_volumes_show},
    {"volumes", "delete", "VOLUME...", 1, -1, 0, "delete volumes that nobody uses",
     "  With their data, if gantryd made them; what was there before stays.\n", cmd_volumes_delete},
    {"config", "show", "", 0, 0, WATCH, "gantryd's values, and where each is from", NULL,
     cmd_config_show},
    {"config", "diff", "", 0, 0, WATCH, "what a reload would change", NULL, cmd_config_diff},
    {"config", "reload", "", 0, 0, 0, "read the files anew, all or nothing",
     "  As SIGHUP does. Tells what has changed, and what needs a restart of gantryd.\n",
     cmd_config_reload},
    {"config", "check", "[FILE]", 0, 1, 0, "look for faults in this machine's files",
     "  Asks the installed gantryd: about FILE, else the file that it would read, with its folder\n"
     "  conf.d and the environment of this command. None needs to run.\n",
     cmd_config_check, true},
    {"store", "backup", "FILE", 1, 1, 0, "copy gantryd's store into FILE",
     "  As of now, while changes go on; - is standard output. Secrets in it are sealed; the key\n"
     "  is not in it, and is better not kept with it. gantryd --check-store looks through it.\n",
     cmd_store_backup},
    {"store", "restore", "FILE", 1, 1, 0, "put a copy in the store's place",
     "  - is standard input. It is checked now, and used from the next start of gantryd on.\n"
     "  The store that it replaces is kept beside it, as FILE.before-TIME.\n",
     cmd_store_restore},
    {"certs", "dev", "", 0, 0, OPTION_BIT(OPTION_DIR) | OPTION_BIT(OPTION_DAYS) | FORCE,
     "certificates for trying things out",
     "  ca.pem, compute-agent.pem for gantryd's gRPC port, client.pem for who calls it, and their\n"
     "  keys, mode 0600, all at once. They are good for localhost, this machine's name and its\n"
     "  addresses; --host NAME, here as often as wanted, adds more. What is there stays there,\n"
     "  but for --force.\n",
     cmd_certs_dev, true},
    {"certs", "show", "FILE...", 1, -1, 0, "what certificates say",
     "  Exit status 1: one has expired, or is not valid yet.\n", cmd_certs_show, true},
    {"context", "list", "", 0, 0, 0, "the machines that have a name here", NULL, cmd_context_list,
     true},
    {"context", "show", "[CONTEXT]", 0, 1, 0, "where calls go, and what is shown there", NULL,
     cmd_context_show, true},
    {"context", "use", "CONTEXT", 1, 1, 0, "talk to this machine from now on", NULL,
     cmd_context_use, true},
    {"context", "add", "NEW-CONTEXT", 1, 1, 0, "give a machine a name, or replace it",
     "  --host says where it is; --cacert, --cert, --key and --token-file are kept with it.\n",
     cmd_context_add, true},
    {"context", "remove", "CONTEXT", 1, 1, 0, "forget a machine", NULL, cmd_context_remove, true},
    {NULL, "completion", "SHELL", 1, 1, 0, "the script for bash, zsh or fish",
     "  bash: source <(gantry completion bash)\n"
     "  zsh:  gantry completion zsh >\"${fpath[1]}/_gantry\"\n"
     "  fish: gantry completion fish >~/.config/fish/completions/gantry.fish\n",
     cmd_completion, true},
    {NULL, "version", "", 0, 0, 0, "the versions of gantry and of gantryd", NULL, cmd_version},
    {NULL, "help", "[COMMAND]", 0, 2, 0, "help for everything, or for one command", NULL, cmd_help,
     true},
};
const size_t cli_n_verbs = ARRAY_LEN(cli_verbs);
