"""Reports: pictures, pages, tables and files for other software, made from finished stores."""
