"""Operations page, run page, and the admin's index page and menu."""
