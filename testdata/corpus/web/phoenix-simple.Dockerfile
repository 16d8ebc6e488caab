FROM elixir:1.18

WORKDIR /app

COPY mix.exs mix.lock ./
RUN mix deps.get --only prod

COPY . .
RUN mix release

EXPOSE 4000
CMD ["bin/server"]
