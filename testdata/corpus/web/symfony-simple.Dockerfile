FROM php:8.4-apache

WORKDIR /app

COPY composer.json composer.lock symfony.lock ./
RUN composer install --no-progress

COPY . .
RUN composer dump-autoload --classmap-authoritative

EXPOSE 80
CMD ["apache2-foreground"]
