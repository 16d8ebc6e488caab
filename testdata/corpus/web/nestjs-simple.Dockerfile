FROM node:22

WORKDIR /app

COPY package*.json ./
RUN npm ci --omit=dev

COPY . .
RUN npx nest build

EXPOSE 3000
CMD ["node", "dist/main"]
