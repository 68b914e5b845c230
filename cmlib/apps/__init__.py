"""What people use in a notebook or a browser.

``demo``       the demo of notebook 08 and of ``make demo``
``rating``     the rating study of notebooks 09 and 10
``listening``  the listening experiment of notebook 00
``encode``     pictures and sounds as bytes for widgets and pages
"""
