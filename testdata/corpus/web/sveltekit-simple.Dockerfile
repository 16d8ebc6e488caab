FROM node:22

WORKDIR /app

COPY package.json bun.lockb ./
RUN npm i -g bun && bun install

COPY . .
RUN bun run build

EXPOSE 3000
CMD ["node", "build"]
