FROM python:3.13-slim

WORKDIR /app

COPY Pipfile Pipfile.lock ./
RUN pip install pipenv && pipenv install --deploy

COPY . .
RUN true

EXPOSE 5000
CMD ["flask", "run", "--host=0.0.0.0"]
