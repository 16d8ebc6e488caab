# escape=\

FROM klakegg/hugo:ext-alpine AS build
WORKDIR /site
COPY . /site
ARG BASE_URL="/"
RUN BASE_URL="${BASE_URL}" hugo --minify

FROM nginx:1.27-alpine
COPY --from=build /site/public /usr/share/nginx/html
COPY <<'NGINX' /etc/nginx/conf.d/default.conf
server {
    listen       80;
    root         /usr/share/nginx/html;
    location / { try_files $uri $uri/ /index.html; }
}
NGINX
EXPOSE 80
CMD ["nginx", "-g", "daemon off;"]
