#!/bin/sh
# Makes the folder of the documentation pages: the ready-made files of the npm packages in packages.txt (name,
# version, SHA-512 of the package), our pages, and a .gz of everything. usage: web/apidocs/build.sh OUT WORK
# WORK keeps the packages, so that they are fetched once. No script of a package is run.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1
work=$2
mkdir -p "$work"

while read -r name version sum; do
    file=$work/$name-$version.tgz
    if [ ! -f "$file" ]; then
        echo "fetching $name $version"
        (cd "$work" && npm pack --silent --prefer-offline "$name@$version" >/dev/null) || {
            echo "cannot fetch the npm package $name $version; \"make APIDOCS=no\" builds without Swagger UI and ReDoc" >&2
            exit 1
        }
    fi
    echo "$sum  $file" | sha512sum --check --status || {
        echo "$file is not the package that packages.txt names; remove it if it is damaged" >&2
        exit 1
    }
    rm -rf "${work:?}/$name"
    mkdir "$work/$name"
    tar -xzf "$file" -C "$work/$name" --strip-components=1
done <"$here/packages.txt"

rm -rf "$out.tmp"
mkdir -p "$out.tmp/licenses"
s=$work/swagger-ui-dist
cp "$s/swagger-ui.css" "$s/swagger-ui-bundle.js" "$s/favicon-32x32.png" "$out.tmp/"
cp "$s/LICENSE" "$out.tmp/licenses/swagger-ui-LICENSE"
cp "$s/NOTICE" "$out.tmp/licenses/swagger-ui-NOTICE"
cp "$s/swagger-ui-bundle.js.LICENSE.txt" "$out.tmp/licenses/swagger-ui-bundle.js.LICENSE.txt"
# The picture beside the maker's name would be asked of another host; a transparent one stands for it.
pixel=data:image/gif\;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7
sed "s#https://cdn\.redoc\.ly/redoc/logo-mini\.svg#$pixel#" "$work/redoc/bundles/redoc.standalone.js" >"$out.tmp/redoc.standalone.js"
cp "$work/redoc/LICENSE" "$out.tmp/licenses/redoc-LICENSE"
cp "$work/redoc/bundles/redoc.standalone.js.LICENSE.txt" "$out.tmp/licenses/redoc.standalone.js.LICENSE.txt"
cp "$here"/*.html "$here"/*-init.js "$out.tmp/"
# What points to the packages' own sources is of no use here, and browsers would ask for it.
sed -i '/^\/\/# sourceMappingURL=/d' "$out.tmp"/*.js
sed -i 's#/\*\# sourceMappingURL=[^*]*\*/##' "$out.tmp"/*.css
for f in "$out.tmp"/*; do
    case $f in
    *.html | *.js | *.css) gzip -9nk "$f" ;;
    esac
done
find "$out.tmp" -type f -exec chmod 0644 {} +
rm -rf "$out"
mv "$out.tmp" "$out"
touch "$out"
