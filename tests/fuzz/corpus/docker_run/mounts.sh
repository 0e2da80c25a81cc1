docker run --name web --mount type=bind,source=/a,target=/b,readonly --mount '"type=bind","src=/c,d",dst=/e,ro=false' nginx
