FROM node:22

WORKDIR /app

COPY package.json pnpm-lock.yaml ./
RUN corepack enable pnpm && pnpm i --frozen-lockfile

COPY . .
RUN pnpm build

EXPOSE 3000
CMD ["node", "server.js"]
