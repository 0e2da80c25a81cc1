docker run --name web -p 80 -p 8080:80 -p127.0.0.1:53:53/udp --publish [::1]:9000-9001:1-2 -p 10.0.0.1::7 nginx
