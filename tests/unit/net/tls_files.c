#include "tls_files.h"

#include "base/base.h"
#include "base/buf.h"
#include "base/file.h"
#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static char dir[32];

const char *tls_file(const char *name)
{
    static char ring[64][96];
    static unsigned at;
    char *p = ring[at++ % ARRAY_LEN(ring)];

    snprintf(p, sizeof(ring[0]), "%s/%s", dir, name);
    return p;
}

/* Runs openssl in the folder with arguments separated by blanks; the last one may hold blanks. */
static bool openssl(const char *args, const char *last)
{
    char copy[512], *save = NULL, *argv[40] = {(char *)"openssl"};
    posix_spawn_file_actions_t fa;
    pid_t pid;
    int n = 1, status = -1;

    snprintf(copy, sizeof(copy), "%s", args);
    for (char *p = strtok_r(copy, " ", &save); p != NULL && n < 37; p = strtok_r(NULL, " ", &save))
        argv[n++] = p;
    if (last != NULL)
        argv[n++] = (char *)(uintptr_t)last;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addchdir_np(&fa, dir);
    posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
    if (posix_spawnp(&pid, "openssl", &fa, NULL, argv, environ) == 0)
        (void)waitpid(pid, &status, 0);
    posix_spawn_file_actions_destroy(&fa);
    if (status != 0)
        fprintf(stderr, "openssl %s %s: failed\n", args, last != NULL ? last : "");
    return status == 0;
}

#define KEY "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "

static bool authority(const char *name)
{
    char args[256];

    snprintf(args, sizeof(args), "req -x509 " KEY "-keyout %s.key -out %s.pem -days 30 -subj", name,
             name);
    return openssl(args, "/CN=test authority");
}

static bool certificate(const char *name, const char *ca, const char *subject, const char *san,
                        int days)
{
    char args[256], text[128];
    FILE *f;

    snprintf(text, sizeof(text), "subjectAltName=%s\n", san);
    f = fopen(tls_file("ext"), "we");
    if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0)
        return false;
    snprintf(args, sizeof(args), "req -new " KEY "-keyout %s.key -out csr -subj", name);
    if (!openssl(args, subject))
        return false;
    snprintf(args, sizeof(args),
             "x509 -req -in csr -CA %s.pem -CAkey %s.key -CAcreateserial -days %d -extfile ext "
             "-out %s.pem",
             ca, ca, days, name);
    return openssl(args, NULL);
}

bool tls_files_make(void)
{
    static const char names[] = "DNS:localhost,IP:127.0.0.1";

    snprintf(dir, sizeof(dir), "/tmp/tls-files-XXXXXX");
    return mkdtemp(dir) != NULL && authority("ca") && authority("other-ca") &&
           certificate("server", "ca", "/CN=localhost", names, 30) &&
           certificate("server2", "ca", "/CN=localhost", names, 30) &&
           certificate("wrong", "ca", "/CN=elsewhere.example", "DNS:elsewhere.example", 30) &&
           certificate("expired", "ca", "/CN=localhost", names, -1) &&
           certificate("client", "ca", "/CN=robot-1", "DNS:robot-1", 30) &&
           certificate("stranger", "other-ca", "/CN=robot-1", "DNS:robot-1", 30);
}

void tls_files_remove(void)
{
    DIR *d = opendir(dir);

    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        (void)unlinkat(dirfd(d), e->d_name, 0);
    if (d != NULL)
        closedir(d);
    (void)rmdir(dir);
}

bool tls_file_copy(const char *from, const char *to)
{
    _cleanup_(buf_done) struct buf b = BUF_INIT(1 << 20);

    return file_read(AT_FDCWD, tls_file(from), 0, &b, NULL) == 0 &&
           file_replace(AT_FDCWD, tls_file(to), (struct slice){b.data, b.len}, 0600, (uid_t)-1,
                        (gid_t)-1, NULL) == 0;
}
