#include "driver/libvirt/virt_lib.h"

#include <dlfcn.h>
#include <uv.h>

static struct {
    uv_once_t once;
    struct virt_lib lib;
    struct err e;
} loaded = {.once = UV_ONCE_INIT};

/* Who asks gets the failure; nothing is printed. */
static void no_words(void *ctx, virErrorPtr e)
{
    (void)ctx;
    (void)e;
}

static void load(void)
{
    void *so = dlopen(VIRT_LIB_NAME, RTLD_NOW | RTLD_LOCAL);
    if (so == NULL) {
        (void)err_set(&loaded.e, ERR_NO_TOOL, "libvirt's client library is not installed: %s",
                      dlerror());
        return;
    }
#define X(name)                                                                                    \
    *(void **)(&loaded.lib.name) = dlsym(so, "vir" #name);                                         \
    if (loaded.lib.name == NULL) {                                                                 \
        (void)err_set(&loaded.e, ERR_NO_TOOL, "libvirt's client library is too old: no vir%s",     \
                      #name);                                                                      \
        return;                                                                                    \
    }
    VIRT_FUNCTIONS(X)
#undef X
    if (loaded.lib.Initialize() != 0 || loaded.lib.EventRegisterDefaultImpl() != 0) {
        (void)err_set(&loaded.e, ERR_RUNTIME, "libvirt's client library cannot be set up");
        return;
    }
    loaded.lib.SetErrorFunc(NULL, no_words);
}

const struct virt_lib *virt_lib_load(struct err *e)
{
    uv_once(&loaded.once, load);
    if (loaded.e.code == 0)
        return &loaded.lib;
    *e = loaded.e;
    return NULL;
}
