FROM php:8.4-fpm

WORKDIR /app

COPY composer.json composer.lock ./
RUN composer install --no-dev --no-scripts

COPY . .
RUN php artisan optimize

EXPOSE 9000
CMD ["php-fpm"]
