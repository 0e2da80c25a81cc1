/* Pages for people: they list what /openapi.json says. Nothing is loaded from elsewhere, so they
 * work on a robot without Internet. */
#include "api/rest/rest_priv.h"

static const char page[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Gantry API</title>\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n<style>\n"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}\n"
    "details{border:1px solid #8884;border-radius:6px;margin:.4em 0;padding:.3em .8em}\n"
    "code,pre{font:13px/1.4 ui-monospace,monospace}pre{overflow:auto}\n"
    "summary{cursor:pointer}b.m{display:inline-block;min-width:4.5em}h2{margin-top:1.4em}\n"
    "</style></head><body><h1 id=\"title\">Gantry API</h1><p id=\"about\"></p>\n"
    "<p>The machine-readable form is <a href=\"/openapi.json\">/openapi.json</a>.</p>\n"
    "<div id=\"calls\">Loading.</div>\n<script>\n"
    "\"use strict\";\n"
    "function el(tag,text,cls){const e=document.createElement(tag);if(text!==undefined)"
    "e.textContent=text;if(cls)e.className=cls;return e}\n"
    "fetch(\"/openapi.json\").then(r=>r.json()).then(d=>{\n"
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
    "   for(const p of op.parameters||[])\n"
    "    box.append(el(\"div\",p.in+\" \"+p.name+\": \"+(p.schema.type||\"any\")+"
    "(p.description?\" - \"+p.description:\"\")));\n"
    "   const show=(title,ref)=>{const n=ref.split(\"/\").pop();box.append(el(\"div\",title+\" "
    "\"+n),"
    "el(\"pre\",JSON.stringify(d.components.schemas[n],null,1)))};\n"
    "   const req=op.requestBody&&op.requestBody.content[\"application/json\"].schema.$ref;\n"
    "   if(req)show(\"Body\",req);\n"
    "   const ok=op.responses[\"200\"].content[\"application/json\"].schema.$ref;\n"
    "   if(ok)show(\"Answer\",ok);\n"
    "   calls.append(box)}}\n"
    "}).catch(e=>{document.getElementById(\"calls\").textContent=\"Cannot load /openapi.json: "
    "\"+e});\n"
    "</script></body></html>\n";

static const char redirect_page[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Gantry "
    "API</title></head>"
    "<body><p>Gantry does not use OAuth 2. The calls are listed at <a href=\"/docs\">/docs</a>.</p>"
    "</body></html>\n";

void rest_docs(struct api_call *c)
{
    bool redirect = slice_eqs(slice_of(c->route->path), "/docs/oauth2-redirect");
    api_reply_text(c, 200, "text/html; charset=utf-8", slice_of(redirect ? redirect_page : page));
}

void rest_openapi_get(struct api_call *c)
{
    struct rest *r = c->app;
    if (rest_openapi(r).p == NULL)
        api_reply_error(c, 503, "out of memory");
    else
        api_reply_json(c, 200, &r->openapi);
}
