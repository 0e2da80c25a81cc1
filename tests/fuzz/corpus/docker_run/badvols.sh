docker run --name web -v data:/data -v /x -v /a:/b:z -v /a:/b:c:d --mount type=tmpfs,dst=/x --mount type=bind,src=/a --mount type=bind,src=/a,dst=/b,foo=1 nginx
