#include "../base/unit.h"

#include "base/json_in.h"
#include "base/json_out.h"
#include "base/str.h"
#include "core/docker_run.h"

static struct err e;

static const char *variable(void *ctx, const char *name)
{
    (void)ctx;
    return strcmp(name, "HOME") == 0 ? "/home/bob" : strcmp(name, "TWO") == 0 ? "a  b" : NULL;
}

static int file(void *ctx, const char *path, struct buf *content, struct err *err)
{
    (void)ctx;
    if (strcmp(path, "web.env") != 0)
        return err_set(err, ERR_NOT_FOUND, "\"%s\" is not there", path);
    return buf_adds(content, "# a comment\r\nA=1\r\n\n  B=two = 2\nHOME\n");
}

static const struct docker_run_options options = {
    .cwd = "/srv/here", .variable = variable, .file = file};

/* What came of it, as one text: the document, then errors and warnings, a line each. */
static void tell(struct buf *b, const struct workload_doc *d, const struct docker_run_notes *n)
{
    struct json_out j;
    json_begin(&j, b);
    if (n->errors.count == 0)
        schema_write_json_as(&workload_doc_schema, d, SCHEMA_JSON_COMPACT, &j);
    for (size_t i = 0; i < n->errors.count; i++)
        (void)buf_addf(b, "\nE %s", ((char **)n->errors.items)[i]);
    for (size_t i = 0; i < n->warnings.count; i++)
        (void)buf_addf(b, "\nW %s", ((char **)n->warnings.items)[i]);
}

#define WEB "{\"id\":\"web\",\"container\":{\"image\":\"nginx\""
#define END "\"image_pull\":\"missing\"}}"

static const struct {
    const char *line, *want;
} lines[] = {
    {"docker run --name web nginx", WEB "," END},
    {"sudo docker container run -d --name=web nginx", WEB "," END},
    {"run -it --name web nginx sh -c 'echo \"$HOME\" | cat'",
     WEB ",\"command\":[\"sh\",\"-c\",\"echo \\\"$HOME\\\" | cat\"],\"image_pull\":\"missing\","
         "\"tty\":true}}\nW -i: has no effect, as nobody is attached to a workload"},
    {"docker run reg.local:5000/team/web.app:1.2@sha256:00",
     "{\"id\":\"web.app\",\"container\":{\"image\":\"reg.local:5000/team/"
     "web.app:1.2@sha256:00\"," END "\nW there is no --name: the workload is called \"web.app\""},
    {"docker run \\\n  --name web \\\r\n  -e A=1 -e=B=2 -eC=\"x y\" --env A=3 -e HOME \\\n nginx # "
     "end",
     WEB ",\"env\":{\"A\":\"3\",\"B\":\"2\",\"C\":\"x y\",\"HOME\":\"/home/bob\"}," END},
    {"docker run --name web --env-file web.env -e B=3 nginx",
     WEB ",\"env\":{\"A\":\"1\",\"B\":\"3\",\"HOME\":\"/home/bob\"}," END},
    {"docker run --name web -e X=$TWO -e Y=\"${TWO}\" -e Z=a$ -e Q=\\$HOME nginx",
     WEB ",\"env\":{\"X\":\"a  b\",\"Y\":\"a  b\",\"Z\":\"a$\",\"Q\":\"$HOME\"}," END},
    {"docker run --name web -v /a:/b -v ./data:/data:ro -v .:/here:rw,cached -v $PWD/x:/x "
     "-v \"$(pwd)\":/p nginx",
     WEB
     ",\"volumes\":[{\"host_path\":\"/a\",\"container_path\":\"/b\"},{\"host_path\":\"/srv/here/"
     "data\",\"container_path\":\"/data\",\"read_only\":true},{\"host_path\":\"/srv/here\","
     "\"container_path\":\"/here\"},{\"host_path\":\"/srv/here/x\",\"container_path\":\"/x\"},"
     "{\"host_path\":\"/srv/here\",\"container_path\":\"/p\"}]," END
     "\nW -v: option \"cached\" has no effect on Linux"},
    {"docker run --name web --mount type=bind,source=/a,target=/b,readonly "
     "--mount '\"type=bind\",\"src=/c,d\",dst=/e,ro=false' nginx",
     WEB ",\"volumes\":[{\"host_path\":\"/a\",\"container_path\":\"/b\",\"read_only\":true},"
         "{\"host_path\":\"/c,d\",\"container_path\":\"/e\"}]," END},
    {"docker run --name web -p 80 -p 8080:80 -p127.0.0.1:53:53/udp --publish [::1]:9000-9001:1-2 "
     "-p 10.0.0.1::7 nginx",
     WEB ",\"ports\":[{\"container_port\":80},{\"host_port\":8080,\"container_port\":80},"
         "{\"host_port\":53,\"container_port\":53,\"protocol\":\"udp\",\"host_ip\":\"127.0.0.1\"},"
         "{\"host_port\":9000,\"container_port\":1,\"host_ip\":\"::1\"},{\"host_port\":9001,"
         "\"container_port\":2,\"host_ip\":\"::1\"},{\"container_port\":7,\"host_ip\":\"10.0.0.1\"}"
         "]," END},
    {"docker run --name web --restart on-failure:5 -m 1.5g --memory-swap -1 -c 512 -u 1:2 -w /srv "
     "-h host --network host --entrypoint /bin/x -l a=b --label c --privileged --read-only "
     "--pull always --stop-timeout 3 -t=false nginx -x",
     WEB
     ",\"command\":[\"-x\"],\"entrypoint\":[\"/bin/x\"],\"resources\":{\"cpu_shares\":512,"
     "\"memory_bytes\":1610612736,\"memory_swap_bytes\":-1},\"restart_policy\":{\"policy\":\"on-"
     "failure\",\"max_retry_count\":5},\"labels\":{\"a\":\"b\",\"c\":\"\"},\"image_pull\":"
     "\"always\",\"user\":\"1:2\",\"working_dir\":\"/srv\",\"hostname\":\"host\","
     "\"network_mode\":\"host\",\"privileged\":true,\"read_only_rootfs\":true,\"stop_timeout_"
     "s\":3}}"},
    {"docker run --name web --health-cmd 'curl -f localhost || exit 1' --health-interval 1m30s "
     "--health-retries 5 --health-start-period 500ms nginx",
     WEB "," END "\b"},
    {"docker run --name web --rm --cidfile /x --sig-proxy=false nginx",
     WEB "," END "\nW --rm: has no effect: a workload that ends is started again until it is "
         "stopped or deleted\nW --cidfile: has no effect: gantry get tells the container's id"},
    /* What has no equivalent, each by name. */
    {"docker run --name web --gpus all --init --cap-add=SYS_ADMIN --init=false -P nginx",
     "\nE --gpus has no equivalent"
     "\nE --init has no equivalent: use an image whose program reaps its children"
     "\nE --cap-add has no equivalent\nE -P has no equivalent: name the ports with -p"},
    {"docker run --name web --network a --network b --stop-timeout 0 --health-interval 3s nginx",
     "\nE --network has no equivalent: a workload is in one network"
     "\nE --stop-timeout has no equivalent: at once or never; give a number of seconds"
     "\nE --health-* has no equivalent: the image's own check cannot be changed; give a "
     "--health-cmd"},
    /* What is wrong. */
    {"docker run", "\nE the image is missing"},
    {"docker run --name", "\nE --name: the value is missing\nE the image is missing"},
    {"docker run --nmae web -x nginx",
     "\nE --nmae is not a flag of docker run\nW there is no --name: the workload is called "
     "\"web\""},
    {"docker run --name web -ix nginx",
     "\nE \"-ix\" is not a flag of docker run\nW -i: has no effect, as nobody is attached to a "
     "workload"},
    {"docker run --name w nginx",
     "\nE id: workload id \"w\" is not valid: 2 to 128 letters, digits, \"_\", \".\" or \"-\", the "
     "first one a letter or a digit, without \"..\""},
    {"docker run --name web -v data:/data -v /x -v /a:/b:z -v /a:/b:c:d --mount type=tmpfs,dst=/x "
     "--mount type=bind,src=/a --mount type=bind,src=/a,dst=/b,foo=1 nginx",
     "\nE -v: \"data\" is a volume by name, which has no equivalent: give a directory of the "
     "machine\nE -v: \"/x\" is a volume without a name, which has no equivalent: give a directory "
     "of the machine\nE -v: option \"z\" has no equivalent\nE -v: \"/a:/b:c:d\" has too many parts"
     "\nE --mount: type \"tmpfs\" has no equivalent: only bind has\nE --mount: source and target "
     "are needed\nE --mount: \"foo\" has no equivalent"},
    {"docker run --name web -p 0 -p 80:80:80:80 -p 1-3:1-2 -p 80/sctp -p 8000-8010:80 -p 1-65535 "
     "-p a nginx",
     "\nE -p: \"0\": not [ip:][port:]port, with ports or ranges of 1 to 65535"
     "\nE -p: \"1-3:1-2\": the ranges are not of one length"
     "\nE -p: \"80/sctp\": the protocol must be tcp or udp"
     "\nE -p: \"8000-8010:80\": the ranges are not of one length"
     "\nE -p: \"1-65535\": too many ports"
     "\nE -p: \"a\": not [ip:][port:]port, with ports or ranges of 1 to 65535"},
    {"docker run --name web -p 80:80 -p 80:81 nginx",
     "\nE container.ports: host_port \"80\" is there twice"},
    {"docker run --name web -m lots --restart sometimes --restart always:3 -c x -e NOPE "
     "--env-file none --pull maybe -d=perhaps --health-interval soon nginx",
     "\nE -m: \"lots\" is not a size such as 512m or 1.5g"
     "\nE --restart: \"sometimes\" is not no, always, unless-stopped or on-failure[:times]"
     "\nE --restart: \"always:3\" is not no, always, unless-stopped or on-failure[:times]"
     "\nE -c: \"x\" is not a number\nE -e: \"NOPE\" has no value here: write NOPE=value"
     "\nE --env-file: \"none\" is not there\nE --pull: \"maybe\" is not always, missing or never"
     "\nE -d: \"perhaps\" is not true or false"
     "\nE --health-interval: \"soon\" is not a time such as 30s or 1m30s"
     "\nE --health-* has no equivalent: the image's own check cannot be changed; give a "
     "--health-cmd"},
};

static void command_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct workload_doc d;
        struct docker_run_notes n;
        struct buf b = BUF_INIT(20000);
        (void)docker_run_text(&d, slice_of(lines[i].line), &options, &n, &e);
        tell(&b, &d, &n);
        const char *want = lines[i].want;
        if (strchr(want, '\b') != NULL) {
            assert_int_equal(n.errors.count, 0);
            assert_int_equal(d.health.kind, DOC_HEALTH_COMMAND);
            assert_int_equal(d.health.command.count, 3);
            assert_string_equal(((char **)d.health.command.items)[2],
                                "curl -f localhost || exit 1");
            assert_int_equal(d.health.interval_ms, 90000);
            assert_int_equal(d.health.timeout_ms, 30000);
            assert_int_equal(d.health.start_period_ms, 500);
            assert_int_equal(d.health.retries, 5);
        } else if (strcmp(b.data, want) != 0) {
            print_message("\n%s gave\n%s\nnot\n%s\n", lines[i].line, b.data, want);
            fail();
        }
        workload_doc_done(&d);
        docker_run_notes_done(&n);
        buf_done(&b);
    }
}

static int run(const char *line, const struct docker_run_options *o)
{
    struct workload_doc d;
    struct docker_run_notes n;
    int rc = docker_run_text(&d, slice_of(line), o, &n, &e);
    workload_doc_done(&d);
    docker_run_notes_done(&n);
    return rc;
}

static void codes(void **state)
{
    (void)state;
    static const struct {
        const char *line, *msg;
        int code;
    } cases[] = {
        {"docker run --name web nginx", NULL, 0},
        {"docker run --name web --init --gpus all nginx",
         "--init has no equivalent: use an image whose program reaps its children (and 1 more)",
         ERR_UNSUPPORTED},
        {"docker run --name web --init -m x nginx", NULL, ERR_INVALID},
        {"docker run 'x", "a ' is not closed", ERR_INVALID},
        {"docker run \"x", "a \" is not closed", ERR_INVALID},
        {"docker run x\\", "the command line ends with a backslash", ERR_INVALID},
        {"docker run \"x\\", "the command line ends with a backslash", ERR_INVALID},
        {"docker run x; rm y",
         "\";\" means something to a shell: put it in quotes, or write what it stands for",
         ERR_INVALID},
        {"docker run `x`",
         "\"`\" means something to a shell: put it in quotes, or write what it stands for",
         ERR_INVALID},
        {"docker run \"`x`\"", "\"`\" would be run by a shell: write its value", ERR_INVALID},
        {"docker run $(id -u)", "\"$(\" would be filled in by a shell: write its value",
         ERR_INVALID},
        {"docker run ${X:-y}", "\"${\" would be filled in by a shell: write its value",
         ERR_INVALID},
        {"docker run $UNKNOWN", "variable \"UNKNOWN\" has no value here: write it", ERR_INVALID},
        {"docker run -v ~/x:/y nginx", NULL, ERR_INVALID},
        {"docker run --name web nginx\ndocker run b",
         "more than one line: end a line that goes on with a backslash", ERR_INVALID},
        {"\n# all of it\ndocker run --name web nginx\n\n# end\n", NULL, 0},
        {"docker run \xFF", "the command line is not UTF-8", ERR_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(run(cases[i].line, &options), cases[i].code);
        if (cases[i].msg != NULL)
            assert_string_equal(e.msg, cases[i].msg);
    }
    /* Without help of the caller. */
    assert_int_equal(run("docker run --name web -v ./x:/y nginx", NULL), ERR_INVALID);
    assert_string_equal(e.msg, "-v: \"./x\" is not an absolute path");
    assert_int_equal(run("docker run --name web --env-file x nginx", NULL), ERR_INVALID);
    assert_string_equal(e.msg, "--env-file: \"x\" cannot be read here: give its lines one by one");
    assert_int_equal(run("docker run -e $PWD --name web nginx", NULL), ERR_INVALID);
    const struct docker_run_options on = {.keep_going = true, .id = "mine"};
    struct workload_doc d;
    struct docker_run_notes n;
    assert_int_equal(docker_run_text(&d, SLICE_LIT("docker run --gpus all nginx"), &on, &n, &e), 0);
    assert_string_equal(d.id, "mine");
    assert_string_equal(((char **)n.warnings.items)[0], "--gpus has no equivalent");
    workload_doc_done(&d);
    docker_run_notes_done(&n);

    char *big = mem_zalloc(DOCKER_RUN_TEXT_MAX + 1);
    assert_int_equal(
        docker_run_text(&d, (struct slice){big, DOCKER_RUN_TEXT_MAX + 1}, NULL, &n, &e), ERR_LIMIT);
    workload_doc_done(&d);
    memset(big, 'a', DOCKER_RUN_TEXT_MAX);
    for (size_t i = 1; i < DOCKER_RUN_TEXT_MAX; i += 2)
        big[i] = ' ';
    assert_int_equal(docker_run_text(&d, (struct slice){big, DOCKER_RUN_TEXT_MAX}, NULL, &n, &e),
                     ERR_LIMIT);
    workload_doc_done(&d);
    mem_free(big);
}

static void survives_no_memory(void **state)
{
    (void)state;
    int steps = 0;
    FOR_EACH_FAILING_ALLOC(n)
    {
        mem_fail_at(n, false);
        int rc =
            run("docker run -it -d -e A=1 -e A=2 -e HOME --env-file web.env -v ./a:/b "
                "--mount type=bind,src=/c,dst=/d -p 127.0.0.1:1-3:1-3 --network x --entrypoint "
                "y -l a=b --health-cmd z -u u -w /w -h h nginx \"a $HOME\" b",
                &options);
        assert_true(rc == ERR_NO_MEMORY || (rc == 0 && !mem_fail_hit()));
        steps++;
    }
    assert_true(steps > 50);
}

int main(void)
{
    json_in_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(command_lines),
        cmocka_unit_test(codes),
        cmocka_unit_test(survives_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
