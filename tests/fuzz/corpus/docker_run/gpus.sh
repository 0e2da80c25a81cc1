docker run --name web --gpus all --init --cap-add=SYS_ADMIN --init=false -P nginx
