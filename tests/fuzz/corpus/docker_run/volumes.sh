docker run --name web -v /a:/b -v ./data:/data:ro -v .:/here:rw,cached -v $PWD/x:/x -v "$(pwd)":/p nginx
