docker run --name web -p 0 -p 80:80:80:80 -p 1-3:1-2 -p 80/sctp -p 8000-8010:80 -p 1-65535 -p a nginx
