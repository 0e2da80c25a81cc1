docker run reg.local:5000/team/web.app:1.2@sha256:00
