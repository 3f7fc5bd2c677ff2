# What deploy/compose.yaml makes of deploy/nginx.conf, so that there is one configuration of nginx: names in place of loopback
# addresses, and two paths, for the container's file system is read-only.
s/127\.0\.0\.1:8000/fastapi:8000/
s/127\.0\.0\.1:8001/flask:8000/
s/listen 127\.0\.0\.1:8080/listen 8080/
s/^worker_processes auto;$/&\npid \/tmp\/nginx.pid;/
