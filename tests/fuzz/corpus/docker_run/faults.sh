docker run --name web -m lots --restart sometimes --restart always:3 -c x -e NOPE --env-file none --pull maybe -d=perhaps --health-interval soon nginx
