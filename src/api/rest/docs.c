/* Pages for people: Swagger UI and ReDoc from files beside the program, and a small page of our own
 * where these are not installed. Nothing is loaded from elsewhere, so they work on a robot without
 * Internet. */
#include "api/rest/rest_priv.h"
#include "api/rest/static.h"
#include "base/etag.h"

#include <string.h>

/* No script but files of this server: what a log or a name holds can never become one. Styles are
 * written by the pages' scripts, and ReDoc's search runs in a worker that it makes itself. */
static const struct http_header page_headers[] = {
    {SLICE_LIT("content-security-policy"),
     SLICE_LIT("default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
               "worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
               "frame-ancestors 'none'")},
    {SLICE_LIT("x-content-type-options"), SLICE_LIT("nosniff")},
    {SLICE_LIT("referrer-policy"), SLICE_LIT("no-referrer")},
};

static const struct static_file swagger_page = {"swagger.html", "text/html; charset=utf-8"};
static const struct static_file redoc_page = {"redoc.html", "text/html; charset=utf-8"};
static const struct static_file files[] = {
    {"swagger-ui.css", "text/css; charset=utf-8"},
    {"swagger-ui-bundle.js", "text/javascript; charset=utf-8"},
    {"swagger-init.js", "text/javascript; charset=utf-8"},
    {"redoc.standalone.js", "text/javascript; charset=utf-8"},
    {"redoc-init.js", "text/javascript; charset=utf-8"},
    {"favicon-32x32.png", "image/png"},
};

static const char own_page[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Gantry API</title>\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n<style>\n"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}\n"
    "details{border:1px solid #8884;border-radius:6px;margin:.4em 0;padding:.3em .8em}\n"
    "code,pre{font:13px/1.4 ui-monospace,monospace}pre{overflow:auto}\n"
    "summary{cursor:pointer}b.m{display:inline-block;min-width:4.5em}h2{margin-top:1.4em}\n"
    "</style></head><body><h1 id=\"title\">Gantry API</h1><p id=\"about\"></p>\n"
    "<p>The machine-readable form is <a href=\"openapi.json\">/openapi.json</a>. Swagger UI and "
    "ReDoc are not installed here; they belong into share/gantry/apidocs (http.docs_root).</p>\n"
    "<div id=\"calls\">Loading.</div>\n<script src=\"docs/list.js\"></script></body></html>\n";

static const char own_script[] =
    "\"use strict\";\n"
    "function el(tag,text,cls){const e=document.createElement(tag);if(text!==undefined)"
    "e.textContent=text;if(cls)e.className=cls;return e}\n"
    "fetch(\"openapi.json\").then(r=>r.json()).then(d=>{\n"
    " document.getElementById(\"title\").textContent=d.info.title+\" \"+d.info.version;\n"
    " document.getElementById(\"about\").textContent=d.info.description;\n"
    " const calls=document.getElementById(\"calls\");calls.textContent=\"\";\n"
    " const groups={};\n"
    " for(const[path,ms]of Object.entries(d.paths))for(const[m,op]of Object.entries(ms))\n"
    "  (groups[(op.tags||[\"other\"])[0]]||=[]).push([m,path,op]);\n"
    " for(const[tag,ops]of Object.entries(groups)){\n"
    "  calls.append(el(\"h2\",tag));\n"
    "  for(const[m,path,op]of ops){\n"
    "   const box=el(\"details\"),s=el(\"summary\");\n"
    "   s.append(el(\"b\",m.toUpperCase(),\"m\"),el(\"code\",path),\" "
    "\"+op.summary);box.append(s);\n"
    "   if(op.description)box.append(el(\"p\",op.description));\n"
    "   for(let p of op.parameters||[]){\n"
    "    if(p.$ref)p=d.components.parameters[p.$ref.split(\"/\").pop()];\n"
    "    box.append(el(\"div\",p.in+\" \"+p.name+\": \"+(p.schema.type||\"any\")+"
    "(p.description?\" - \"+p.description:\"\")))}\n"
    "   const show=(title,c)=>{const s=c&&c[\"application/json\"]&&c[\"application/json\"].schema;"
    "if(s&&s.$ref){const n=s.$ref.split(\"/\").pop();box.append(el(\"div\",title+\" \"+n),"
    "el(\"pre\",JSON.stringify(d.components.schemas[n],null,1)))}};\n"
    "   show(\"Body\",op.requestBody&&op.requestBody.content);\n"
    "   const ok=Object.keys(op.responses).find(s=>s[0]===\"2\");\n"
    "   show(\"Answer\",ok&&op.responses[ok].content);\n"
    "   calls.append(box)}}\n"
    "}).catch(e=>{document.getElementById(\"calls\").textContent=\"Cannot load /openapi.json: "
    "\"+e});\n";

static const char redirect_page[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Gantry "
    "API</title></head>"
    "<body><p>Gantry does not use OAuth 2. The calls are listed at <a href=\"/docs\">/docs</a>.</p>"
    "</body></html>\n";

static void reply_own(struct api_call *c, const char *type, const char *text)
{
    api_reply(c, 200, type, page_headers, ARRAY_LEN(page_headers), slice_of(text));
}

/* True: answered. */
static bool send_file(struct api_call *c, const struct static_file *f)
{
    const char *root = ((const struct rest *)c->app)->o.docs_root;
    return root != NULL && static_send(c, root, f, page_headers, ARRAY_LEN(page_headers)) == 0;
}

void rest_docs(struct api_call *c)
{
    const char *path = c->route->path;
    if (strcmp(path, "/docs/oauth2-redirect") == 0)
        reply_own(c, "text/html; charset=utf-8", redirect_page);
    else if (!send_file(c, strcmp(path, "/redoc") == 0 ? &redoc_page : &swagger_page))
        reply_own(c, "text/html; charset=utf-8", own_page);
}

void rest_docs_file(struct api_call *c)
{
    if (slice_eqs(c->path[0], "list.js")) {
        reply_own(c, "text/javascript; charset=utf-8", own_script);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        if (slice_eqs(c->path[0], files[i].name) && send_file(c, &files[i]))
            return;
    }
    rest_reply_named(c, 404, "File '", c->path[0], "' not found");
}

struct slice rest_openapi(struct rest *r)
{
    if (r->openapi.data == NULL) {
        size_t n;
        const struct api_route *rows = rest_routes(&n);
        buf_init(&r->openapi, REST_MAX_OPENAPI);
        if (rest_openapi_write(&r->openapi, rows, n) != 0)
            buf_done(&r->openapi);
        else
            etag_of(r->openapi_etag, (struct slice){r->openapi.data, r->openapi.len});
    }
    return (struct slice){r->openapi.data, r->openapi.len};
}

void rest_openapi_get(struct api_call *c)
{
    struct rest *r = c->app;
    struct slice text = rest_openapi(r);
    if (text.p == NULL) {
        api_reply_error(c, 503, "out of memory");
        return;
    }
    struct slice etag = slice_of(r->openapi_etag);
    const struct http_header h[] = {{SLICE_LIT("etag"), etag},
                                    {SLICE_LIT("cache-control"), SLICE_LIT("no-cache")}};
    if (api_not_modified(c, etag))
        api_reply(c, 304, NULL, h, ARRAY_LEN(h), SLICE_LIT(""));
    else
        api_reply(c, 200, "application/json", h, ARRAY_LEN(h), text);
}
