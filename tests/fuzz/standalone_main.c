/* Runs a fuzz target once on each file that is named, and on each file of a folder that is named:
 * with any compiler, so that corpora and former crashes are regression tests. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

enum { MAX_FILE = 16 << 20 };
static int runs;

static int run_file(const char *path)
{
    FILE *f = fopen(path, "rbe");
    uint8_t *bytes;
    struct stat st;
    size_t n;

    if (f == NULL || fstat(fileno(f), &st) != 0 || st.st_size > MAX_FILE) {
        fprintf(stderr, "cannot read \"%s\"\n", path);
        if (f != NULL)
            fclose(f);
        return -1;
    }
    /* Exactly as large as the input, so that a sanitizer sees a read beyond it. */
    bytes = malloc(st.st_size > 0 ? (size_t)st.st_size : 1);
    n = bytes != NULL ? fread(bytes, 1, (size_t)st.st_size, f) : 0;
    fclose(f);
    if (bytes == NULL || n != (size_t)st.st_size) {
        fprintf(stderr, "cannot read \"%s\"\n", path);
        free(bytes);
        return -1;
    }
    fprintf(stderr, "%s\n", path); /* the last line before a crash names its input */
    (void)LLVMFuzzerTestOneInput(bytes, n);
    free(bytes);
    runs++;
    return 0;
}

static int run_folder(const char *path)
{
    DIR *d = opendir(path);
    int r = 0;

    if (d == NULL) {
        fprintf(stderr, "cannot open \"%s\"\n", path);
        return -1;
    }
    for (struct dirent *e; r == 0 && (e = readdir(d)) != NULL;) {
        char file[4096];
        struct stat st;
        int n = snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
        if (e->d_name[0] == '.' || n < 0 || (size_t)n >= sizeof(file))
            continue;
        if (stat(file, &st) == 0 && S_ISREG(st.st_mode))
            r = run_file(file);
    }
    closedir(d);
    return r;
}

int main(int argc, char **argv)
{
    if (LLVMFuzzerInitialize != NULL)
        LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        struct stat st;
        int r = stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode) ? run_folder(argv[i])
                                                               : run_file(argv[i]);
        if (r != 0)
            return 1;
    }
    printf("%d inputs\n", runs);
    if (runs == 0) {
        fprintf(stderr, "no inputs: a test without any proves nothing\n");
        return 1;
    }
    return 0;
}
