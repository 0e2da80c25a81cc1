docker run --name web --health-cmd 'curl -f localhost || exit 1' --health-interval 1m30s --health-retries 5 --health-start-period 500ms nginx
